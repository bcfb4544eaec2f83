"""What `publish` writes, and what `evaluate_preset` and `update_preset` make of it."""

import dataclasses
import json
import re
import sys
import tomllib

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.datasets import load_arrays, random_patches
from keras_sae.evaluation import SUITES
from keras_sae.models import SparseAutoencoder
from keras_sae.presets._manifest import write_metadata
from keras_sae.training import (
    evaluate_preset,
    load_recipe,
    publish,
    publish_model,
    suites_of,
    train,
    update_preset,
)
from keras_sae.training._card import render
from keras_sae.training._recipe import from_data
from keras_sae.visualization import decoder_features


def test_an_unfinished_run_is_not_published(trained):
    record = json.loads((trained / "run.json").read_text())
    record["recipe"]["epochs"] = 4
    (trained / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="1 of 4 epochs"):
        publish(trained)


def test_published_presets_load_render_and_measure_as_recorded(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    model = train(recipe, tmp_path / "run", verbose=0)
    directory = publish(tmp_path / "run")
    again = SparseAutoencoder.from_preset(directory)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    metadata = presets.read_metadata(directory)
    assert metadata["recipe"]["epochs"] == 4
    assert metadata["parts"] == {"data": "fashion_mnist_sample", "architecture": "dense", "mechanism": "ksparse"}
    assert metadata["metrics"]["features"]["l0"] == 8
    assert (directory / "README.md").read_text() == render(metadata)
    rows, equal = evaluate_preset(directory)
    assert equal
    assert {row[0].split(".")[0] for row in rows} == set(metadata["metrics"]) == {"probe", "features"}
    assert {"probe.error", "probe.interval.0", "probe.raw_pixels.labels_20.error"} <= {row[0] for row in rows}
    assert [row[0] for row in evaluate_preset(directory, suites=["features"])[0] if "probe" in row[0]] == []
    with pytest.raises(ValueError, match="no figures of 'denoise'"):
        evaluate_preset(directory, suites=["denoise"])


PATCHES = """
title = "A dictionary of patches"
epochs = 1
batch_size = 50
seed = 3
start = "samples"

[data]
name = "fashion_mnist_sample"
train = "train[:50]"
test = "test[:20]"
patches = { size = 5, count = 100 }
shown = "mine"

[model]
class = "ConvolutionalAutoencoder"
filters = 7
kernel_size = 1
strides = 1
tied = true
preprocessing = [{ class = "Patches", size = 5 }]
sparsity = { class = "KSparse", k = 1, select_by = "magnitude" }

[optimizer]
class = "SGD"
learning_rate = 1e-12
"""


def test_patches_train_a_model_for_images_of_any_size_and_images_of_another_data_set_are_shipped(tmp_path):
    (tmp_path / "mine_conv_ksparse.toml").write_text(PATCHES)
    shown = np.random.default_rng(0).random((9, 28, 28, 1), "float32")
    np.savez(tmp_path / "mine.npz", test_image=shown)
    recipe = load_recipe(tmp_path / "mine_conv_ksparse.toml")
    model = train(recipe, tmp_path / "run", tmp_path, verbose=0)
    assert model.input_shape == (None, None, None, 1)
    images, _ = load_arrays("fashion_mnist_sample", "train[:50]")
    rows = random_patches(images, 5, 100, seed=3).reshape(100, 25).astype("float32")
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)
    units = keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel).reshape(25, 7).T
    np.testing.assert_allclose((units @ rows.T).max(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(decoder_features(model)[:, :, :, 0].reshape(7, 25), units, atol=1e-6)
    directory = publish(tmp_path / "run", tmp_path)
    np.testing.assert_array_equal(presets.load_reference(directory)["inputs"], shown[:2])
    assert presets.read_metadata(directory)["data"]["train_examples"] == 50
    assert "Trained on 100 patches of 5 x 5 pixels" in (directory / "README.md").read_text()


def test_a_model_trained_by_other_means_gets_the_card_of_a_run(published, recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    model = SparseAutoencoder.from_preset(published)
    directory = publish_model(model, recipe, tmp_path / "mine", hardware="a friend's computer", seconds=120)
    mine, theirs = (presets.read_metadata(each) for each in (directory, published))
    assert mine["metrics"] == theirs["metrics"]
    assert mine["recipe"] == theirs["recipe"]
    assert "- Training time: 2 minutes on a friend's computer." in (directory / "README.md").read_text()
    with pytest.raises(ValueError, match="both `hardware` and `seconds`"):
        publish_model(model, recipe, tmp_path / "other", seconds=120)
    with pytest.raises(ValueError, match="describes a DenseAutoencoder with weights of the shapes"):
        publish_model(model, load_recipe(recipe_file, ["model.code_units=31"]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_figure_that_is_not_the_cards_is_reported(published):
    metadata = presets.read_metadata(published)
    metadata["metrics"]["probe"]["error"] += 5
    write_metadata(published, metadata)
    rows, equal = evaluate_preset(published)
    assert not equal
    assert [row[0] for row in rows if not row[-1]] == ["probe.error"]


def test_cards_of_shipped_presets_are_rendered_from_their_metadata():
    for name in presets.names():
        directory = presets.find(name)
        assert (directory / "README.md").read_text(encoding="utf-8") == render(presets.read_metadata(directory))


def test_mnist_dense_ksparse_is_within_its_bar():
    figures = presets.read_metadata(presets.find("mnist_dense_ksparse"))["metrics"]["probe"]
    assert figures["error"] <= 1.6
    assert 6.9 <= figures["raw_pixels"]["error"] <= 7.6


ALL_SUITES = [
    "finetune={epochs=1, head_epochs=1}",
    "anomaly={epochs=1, optimizer={class='Adam'}}",
    "denoise={noise='gaussian', amount=0.2}",
    "features={overlap=true}",
]


@pytest.mark.slow
def test_every_suite_is_measured_told_and_measured_again(recipe_file, tmp_path):
    published = [
        {"what": "error", "value": 90.0, "source": "a paper", "metric": "probe.error"},
        {"what": "AUROC", "value": 99.9, "source": "a paper", "metric": "anomaly.auroc"},
        {"what": "pixels", "value": 1.0, "source": "a paper", "metric": "probe.raw_pixels.error"},
        {"what": "another", "value": 2.0, "source": "a paper"},
    ]
    recipe = load_recipe(recipe_file, ["epochs=1", *ALL_SUITES])
    recipe = dataclasses.replace(recipe, suite_options={**{name: {} for name in SUITES}, **recipe.suite_options})
    train(dataclasses.replace(recipe, published=published, use="For tests."), tmp_path / "run", verbose=0)
    directory = publish(tmp_path / "run")
    metadata = presets.read_metadata(directory)
    assert list(recipe.suites()) == list(SUITES)
    assert set(metadata["metrics"]) == set(SUITES)
    text = (directory / "README.md").read_text()
    assert text == render(metadata)
    for part in (
        "## Intended use\n\nFor tests.",
        "Fine-tuned",
        "Anomaly detection",
        "Denoising",
        "keras-sae browse",
        "features.png",
    ):
        assert part in text
    assert re.search(r"\| error \| 90.00 % \| .* % \| reached \|", text)
    assert re.search(r"\| AUROC \| 99.90 \| [0-9.]+ \| not reached \|", text)
    assert re.search(r"\| pixels \| 1.00 % \| .* % \| \| a paper", text)
    assert "| another | 2.00 % | | | a paper |" in text
    assert (directory / "features.png").stat().st_size < 150_000
    assert set(metadata["files"]) >= {"features.png", "README.md"}
    assert tomllib.loads(text.split("```toml\n")[1].split("```")[0])["model"] == metadata["recipe"]["model"]
    rows, equal = evaluate_preset(directory)
    assert equal, [row for row in rows if not row[-1]]


@pytest.fixture
def ship(monkeypatch):
    """Makes a recipe the one that the package ships."""

    def replace(recipe):
        monkeypatch.setattr(sys.modules["keras_sae.training._publish"], "recipe_names", lambda: [recipe.name])
        monkeypatch.setattr(sys.modules["keras_sae.training._publish"], "load_recipe", lambda name: recipe)

    return replace


def test_a_card_is_updated_without_training(recipe_file, published, ship):
    before = presets.read_metadata(published)
    ship(load_recipe(recipe_file, ["epochs=1", "notes=Beware.", "denoise={amount=0.4}"]))
    assert suites_of(published, as_now=True) == ["probe", "denoise", "features"]
    assert update_preset(published, suites=["denoise"]) == published
    metadata = presets.read_metadata(published)
    ship(load_recipe(recipe_file, ["epochs=2"]))
    with pytest.raises(ValueError, match=r"epochs differ.*Train it again"):
        update_preset(published)
    assert metadata["metrics"]["probe"] == before["metrics"]["probe"]
    assert metadata["metrics"]["denoise"]["psnr"] > 0
    assert metadata["files"]["model.weights.h5"] == before["files"]["model.weights.h5"]
    assert (metadata["seconds"], metadata["recipe"]["notes"]) == (before["seconds"], "Beware.")
    assert (published / "README.md").read_text() == render(metadata)


def test_a_preset_gets_the_features_of_its_recipe_with_its_weights(recipe_file, published, ship):
    before = SparseAutoencoder.from_preset(published)
    features = "model.features={encode=[{class='SoftKSparse', k=6}, {class='Standardize'}]}"
    ship(load_recipe(recipe_file, ["epochs=1", features]))
    with pytest.raises(ValueError, match=r"other `features`.*--update"):
        update_preset(published, suites=())
    update_preset(published, suites=["probe"])
    after = SparseAutoencoder.from_preset(published)
    reference = presets.load_reference(published)
    np.testing.assert_array_equal(reference["codes"], before.encoder(reference["inputs"]))
    np.testing.assert_allclose(reference["features"], after.features(reference["inputs"]), atol=1e-6)
    layer = after.features.layers[-1]
    assert layer.is_adapted
    metadata, card = presets.read_metadata(published), (published / "README.md").read_text()
    assert metadata["features_shape"] == [30]
    assert "model.features.predict(images)" in card
    assert "`model.features`: the output of the layer `encode`, `SoftKSparse(k=6)`, `Standardize()`" in card


def test_texts_alone_are_updated_without_data_and_without_measuring(recipe_file, published, ship, monkeypatch):
    before = presets.read_metadata(published)
    ship(load_recipe(recipe_file, ["epochs=1", "title=Another title", "notes=Beware.", "denoise={amount=0.4}"]))
    for reading in ("read_data", "measure"):
        monkeypatch.delattr(f"keras_sae.training._publish.{reading}")
    assert update_preset(published, suites=()) == published
    after = presets.read_metadata(published)
    text = (published / "README.md").read_text()
    assert text == render(after)
    assert "Another title." in text
    assert "## Limits\n\nBeware." in text
    assert after["recipe"]["denoise"] == {"amount": 0.4}  # a new suite, without figures so far
    for key in ("metrics", "data", "seconds", "packages", "parameters"):
        assert after[key] == before[key]
    for name in before["files"]:
        assert (after["files"][name] == before["files"][name]) == (name != "README.md")


def test_a_damaged_preset_is_not_given_new_texts(published):
    weights = published / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    before = (published / "metadata.json").read_bytes()
    with pytest.raises(ValueError, match="damaged"):
        update_preset(published, suites=())
    assert (published / "metadata.json").read_bytes() == before


def test_a_recipe_without_a_probe_runs_none(recipe_file):
    recipe = dataclasses.replace(load_recipe(recipe_file), suite_options={})
    assert recipe.suites() == {"features": {}}
    assert "probe" not in recipe.as_data()
    empty = dataclasses.replace(recipe, suite_options={"probe": {}})
    assert from_data(empty.as_data()).suites() == {"probe": {}, "features": {}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("probe.few_lables=[]", "'few_labels'"),
        ("finetune={epoch=3}", "'epochs'"),
        ("denoise={noise='masking', ammount=1}", "'amount'"),
        ("published=[{what='x', value=1.0, source='y', metric='finetune.error'}]", r"no section \[finetune\]"),
    ],
)
def test_suites_are_checked_when_a_recipe_is_read(recipe_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(recipe_file, [override])


def test_what_cannot_be_read_is_refused_before_training(recipe_file):
    with pytest.raises(ValueError, match="below the number of units"):
        load_recipe(recipe_file, ["model.features={class='SoftKSparse', k=30}"]).build((28, 28, 1))


def test_encodings_of_earlier_recipes_are_ignored_and_said_to_be(recipe_file):
    plain = load_recipe(recipe_file)
    with pytest.warns(UserWarning, match=r"`probe.encodings` .* is ignored"):
        assert load_recipe(recipe_file, ["probe.encodings=[{keep=3}]"]) == plain
