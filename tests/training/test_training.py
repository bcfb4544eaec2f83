import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.models import SparseAutoencoder
from keras_sae.training import evaluate_preset, load_recipe, publish, recipe_names, train
from keras_sae.training.card import render

RECIPE = """
title = "A small recipe"
epochs = 4
batch_size = 64
seed = 3

[data]
name = "fashion_mnist_sample"
train = "train[:300]"
test = "test[:200]"
licence = "MIT"

[model]
class = "DenseAutoencoder"
code_units = 30
tied = true
sparsity = [{ class = "KSparse", k = 4, alpha = 2 }, { class = "L1", l1 = 0.001 }]
kernel_initializer = { class = "RandomNormal", stddev = 0.05 }

[k_schedule]
start = 12
epochs = 2

[optimizer]
class = "SGD"
momentum = 0.9
learning_rate = { class = "ExponentialDecay", initial_learning_rate = 0.5, decay_steps = 5, decay_rate = 0.9 }

[probe]
validation = 100
C = [0.1, 1.0]
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "small_dense_ksparse.toml"
    path.write_text(RECIPE)
    return path


def weights(model):
    return [np.asarray(weight) for weight in model.get_weights()]


def test_every_shipped_recipe_is_whole_and_has_its_preset():
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.build((28, 28, 1)).optimizer is not None
        recorded = presets.read_metadata(presets.find(name))["recipe"]
        assert recorded == json.loads(json.dumps(recipe.as_data())), "train the preset again: its recipe has changed"


def test_the_recipe_says_what_is_built(recipe_file):
    model = load_recipe(recipe_file).build((28, 28, 1))
    assert model.name == "small_dense_ksparse"
    assert (model.encoder.layers[-2].k, model.encoder.layers[-2].alpha) == (4, 2.0)
    assert model.penalties[0].l1 == 0.001
    assert float(model.optimizer.learning_rate) == 0.5


def test_overrides(recipe_file):
    recipe = load_recipe(recipe_file, ["epochs=9", "model.code_units=7", "optimizer.learning_rate=0.25", "title=Other"])
    assert (recipe.epochs, recipe.model["code_units"], recipe.optimizer["learning_rate"]) == (9, 7, 0.25)
    assert recipe.title == "Other"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "'epochs'"),
        ("epochs=0", "epochs"),
        ("epochs=many", "epochs"),
        ("optimiser.learning_rate=1", "'optimizer'"),
        ("epochs", "key=value"),
        ("data.trian='test'", "'train'"),
        ("k_schedule.stop=3", "stop"),
    ],
)
def test_bad_overrides_are_refused_with_near_matches(recipe_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(recipe_file, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.class=DenseAutoencodr", "'DenseAutoencoder'"),
        ("model.code_unit=3", "'code_units'"),
        ("optimizer.class=SDG", "'SGD'"),
        ("optimizer.learning_rte=1", "'learning_rate'"),
        ("model.sparsity={class='KSpars', k=3}", "'KSparse'"),
        ("model.sparsity={k=3}", "class"),
    ],
)
def test_mistyped_classes_and_arguments_are_refused_with_near_matches(recipe_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(recipe_file, [override]).build((28, 28, 1))


def test_unknown_recipes_get_near_matches():
    with pytest.raises(ValueError, match="'mnist_dense_ksparse'"):
        load_recipe("mnist_dense_kparse")


def test_a_resumed_run_ends_as_one_that_was_never_stopped(recipe_file, tmp_path):
    whole = train(load_recipe(recipe_file), tmp_path / "whole", verbose=0)
    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "parts", verbose=0)
    train(load_recipe(recipe_file, ["epochs=3"]), tmp_path / "parts", resume=True, verbose=0)
    parts = train(load_recipe(recipe_file), tmp_path / "parts", resume=True, verbose=0)
    for one, other in zip(weights(whole), weights(parts), strict=True):
        np.testing.assert_array_equal(one, other)
    histories = [(tmp_path / run / "history.csv").read_text() for run in ("whole", "parts")]
    assert histories[0] == histories[1]


def test_a_killed_run_resumes_to_the_same_weights(recipe_file, tmp_path):
    code = (
        "import sys; from keras_sae.training import *; "
        "train(load_recipe(sys.argv[1], ['epochs=40']), sys.argv[2], resume=True, verbose=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, recipe_file, tmp_path / "killed"], stderr=subprocess.PIPE)
    run = tmp_path / "killed" / "run.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (run.exists() and json.loads(run.read_text())["epochs_done"] >= 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = json.loads(run.read_text())["epochs_done"]
    assert 2 <= done < 40
    recipe = load_recipe(recipe_file, ["epochs=40"])
    resumed = train(recipe, tmp_path / "killed", resume=True, verbose=0)
    whole = train(recipe, tmp_path / "whole", verbose=0)
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_a_run_is_neither_overwritten_nor_resumed_with_another_recipe(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    train(recipe, tmp_path / "run", verbose=0)
    with pytest.raises(FileExistsError, match="resume"):
        train(recipe, tmp_path / "run", verbose=0)
    with pytest.raises(ValueError, match="batch_size"):
        train(load_recipe(recipe_file, ["batch_size=32"]), tmp_path / "run", resume=True, verbose=0)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(recipe_file, tmp_path, monkeypatch):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    before = weights(train(recipe, tmp_path / "run", verbose=0))

    def disk_is_full(self, path, *arguments, **options):
        path.write_bytes(b"half a file")
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(keras.Model, "save", disk_is_full)
        with pytest.raises(OSError, match="No space"):
            train(load_recipe(recipe_file, ["epochs=2"]), tmp_path / "run", resume=True, verbose=0)
    for one, other in zip(before, weights(keras.models.load_model(tmp_path / "run" / "checkpoint.keras")), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.keras", "history.csv", "run.json"]


def test_a_loss_that_is_not_finite_ends_a_run_and_keeps_the_last_good_checkpoint(recipe_file, tmp_path):
    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "run", verbose=0)
    model = keras.models.load_model(tmp_path / "run" / "checkpoint.keras")
    model.set_weights([np.full_like(weight, np.inf) if weight.ndim == 2 else weight for weight in model.get_weights()])
    model.save(tmp_path / "run" / "checkpoint.keras")
    before = (tmp_path / "run" / "checkpoint.keras").read_bytes()
    with pytest.raises(FloatingPointError, match=r"epoch 2.*is kept"):
        train(load_recipe(recipe_file), tmp_path / "run", resume=True, verbose=0)
    assert (tmp_path / "run" / "checkpoint.keras").read_bytes() == before


def test_an_unfinished_run_is_not_published(recipe_file, tmp_path):
    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "run", verbose=0)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["recipe"]["epochs"] = 4
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="1 of 4 epochs"):
        publish(tmp_path / "run")


def test_published_presets_load_render_and_measure_as_recorded(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    model = train(recipe, tmp_path / "run", verbose=0)
    directory = publish(tmp_path / "run")
    again = SparseAutoencoder.from_preset(directory)
    for one, other in zip(weights(model), weights(again), strict=True):
        np.testing.assert_array_equal(one, other)
    metadata = presets.read_metadata(directory)
    assert metadata["recipe"]["epochs"] == 4
    assert metadata["metrics"]["l0"] == 8
    assert (directory / "README.md").read_text() == render(metadata)
    rows, equal = evaluate_preset(directory)
    assert equal
    assert {row[0] for row in rows} == set(metadata["metrics"])


def test_a_figure_that_is_not_the_cards_is_reported(recipe_file, tmp_path):
    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "run", verbose=0)
    directory = publish(tmp_path / "run")
    metadata = presets.read_metadata(directory)
    metadata["metrics"]["probe_error"] += 5
    presets.manifest.write_metadata(directory, metadata)
    rows, equal = evaluate_preset(directory)
    assert not equal
    assert [row[0] for row in rows if not row[-1]] == ["probe_error"]


def test_cards_of_shipped_presets_are_rendered_from_their_metadata():
    for name in presets.names():
        directory = presets.find(name)
        assert (directory / "README.md").read_text(encoding="utf-8") == render(presets.read_metadata(directory))


def test_mnist_dense_ksparse_is_within_its_bar():
    metrics = presets.read_metadata(presets.find("mnist_dense_ksparse"))["metrics"]
    assert metrics["probe_error"] <= 1.8
    assert 6.9 <= metrics["probe_error_raw_pixels"] <= 7.6


def test_a_recipe_describes_the_mechanisms_of_several_levels_and_noise(tmp_path):
    path = tmp_path / "small_deep_ksparse.toml"
    deep = """
[model]
class = "DeepAutoencoder"
hidden_units = [12]
code_units = 8
corruption = { class = "MaskingNoise", rate = 0.2 }
sparsity = { level_1 = { class = "ActivityKL", target = 0.2 }, code = [{ class = "KSparse", k = 2 }] }
"""
    before, rest = RECIPE.split("[model]")[0], RECIPE[RECIPE.index("[optimizer]") :]
    path.write_text(before + deep + rest)
    model = load_recipe(path).build((28, 28, 1))
    assert [(code, type(penalty).__name__) for code, penalty in model.charges] == [("level_1", "ActivityKL")]
    assert type(model.corruption).__name__ == "MaskingNoise"
    assert model.encoder.layers[-2].k == 2
    with pytest.raises(ValueError, match="must name its `class`"):
        load_recipe(path, ["model.sparsity={ k = 2 }"]).build((28, 28, 1))
