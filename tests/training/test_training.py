import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest

from keras_sae import datasets, presets
from keras_sae.datasets import batches, load_arrays
from keras_sae.training import (
    Stopped,
    _state,
    evaluate_preset,
    load_recipe,
    publish,
    read_run,
    recipe_names,
    train,
)
from keras_sae.training._checkpoint import Checkpoint
from keras_sae.training._publish import checksum, trained_model
from keras_sae.training._run import Run

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is about TensorFlow")


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
    made = load_recipe(recipe_file, ["early_stopping.patience=3", "early_stopping.min_delta=0.1", "model.tied=False"])
    assert made.early_stopping == {"patience": 3, "min_delta": 0.1}
    assert made.model["tied"] is False


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
        ("early_stoping.patience=3", "'early_stopping'"),
        ("epochs.many=3", "'epochs'"),
        ("keep_best=perhaps", "true or false"),
        ("early_stopping={patience=2, restore_best_weights=true}", "keep_best"),
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


NOISY = [
    "batch_size=16",
    "model.corruption={class='MaskingNoise', rate=0.2}",
    "model.sparsity=[{class='BatchKSparse', k=4}, {class='ActivityTargetL1', target=0.1, momentum=0.9}]",
    "optimizer.use_ema=true",
    "optimizer.learning_rate=0.01",
    "penalty_schedule={start=0.0, epochs=3}",
    "dead_units={resample=true, images=200, every=2}",
    "early_stopping={patience=50}",
]

DETERMINISTIC = """
import sys, time, tensorflow as tf, keras
tf.config.experimental.enable_op_determinism()
from keras_sae.training import load_recipe, train
class Slowly(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(sys.argv[3]))
import keras_sae.training._recipe as module
callbacks = module.Recipe.callbacks
module.Recipe.callbacks = lambda *arguments: [*callbacks(*arguments), Slowly()]
train(load_recipe(sys.argv[1], sys.argv[4:]), sys.argv[2], resume=True, verbose=0, checkpoint_seconds=0.3)
"""


@tensorflow_only
def test_a_killed_run_ends_as_one_that_was_never_killed(recipe_file, tmp_path, in_fresh_process):
    overrides = ["epochs=6", *NOISY]
    command = [sys.executable, "-c", DETERMINISTIC, str(recipe_file), str(tmp_path / "killed"), "0.1", *overrides]
    killed_within_epochs = 0
    for _ in range(2):
        before = read_run(tmp_path / "killed") if (tmp_path / "killed" / "checkpoint.npz").exists() else None
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
            if (tmp_path / "killed" / "checkpoint.npz").exists():
                now = read_run(tmp_path / "killed")
                if now["step"] and (before is None or now["epoch"] > before["epoch"]):
                    break
        process.kill()
        process.communicate()
        killed_within_epochs += read_run(tmp_path / "killed")["step"] > 0
    assert killed_within_epochs == 2
    in_fresh_process(DETERMINISTIC, recipe_file, tmp_path / "killed", "0", *overrides, forked=True)
    in_fresh_process(DETERMINISTIC, recipe_file, tmp_path / "whole", "0", *overrides, forked=True)
    (_, one), (_, other) = (_state.read(tmp_path / run / "checkpoint.npz") for run in ("killed", "whole"))
    assert len(one) > 20
    for mine, whole in zip(one, other, strict=True):
        assert mine.tobytes() == whole.tobytes()
    assert (tmp_path / "killed" / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()


def test_two_processes_do_not_train_in_one_directory(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    with Run(tmp_path / "run", recipe, resume=False), pytest.raises(BlockingIOError, match="Another process"):
        Run(tmp_path / "run", recipe, resume=True)
    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "run", verbose=0)  # the first is done


def stopped_at(recipe, output, step, signum=signal.SIGINT):
    """Trains until a step of the first epoch, after which the process gets a signal. Returns the exception that ends it."""

    class Presses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == step - 1:
                os.kill(os.getpid(), signum)

    wired = type(recipe).callbacks
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever shell or library came before
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(recipe), "callbacks", lambda *arguments: [*wired(*arguments), Presses()])
        with pytest.raises(Stopped) as stopped:
            train(recipe, output, verbose=0)
    return stopped.value


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_after_a_step_with_everything_saved(signum, recipe_file, tmp_path):
    assert stopped_at(load_recipe(recipe_file), tmp_path / "run", 3, signum).signum == signum
    assert (read_run(tmp_path / "run")["epoch"], read_run(tmp_path / "run")["step"]) == (0, 3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_callbacks_remember_the_epoch_in_which_a_run_was_resumed(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["early_stopping={patience=1, min_delta=100.0}", "epochs=9"])
    stopped_at(recipe, tmp_path / "run", 3)
    assert read_run(tmp_path / "run")["step"] == 3
    train(recipe, tmp_path / "run", resume=True, verbose=0, checkpoint_seconds=1e9)  # no state is due in between
    assert read_run(tmp_path / "run")["epoch"] == 2  # as without being stopped, see the test of early stopping


@tensorflow_only
def test_images_that_stay_on_disk_are_trained_on_resumed_and_published(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets._load, "_MEMORY", 784 * 100)
    with pytest.raises(ValueError, match=r"\[probe\] reads all training images.*300 images.*stay on disk"):
        train(load_recipe(recipe_file), tmp_path / "probed", verbose=0)
    recipe = dataclasses.replace(load_recipe(recipe_file, ["dead_units={images=20}", "epochs=3"]), suite_options={})
    whole = train(recipe, tmp_path / "whole", verbose=0)
    stopped_at(recipe, tmp_path / "parts", 2)
    assert read_run(tmp_path / "parts")["step"] == 2
    parts = train(recipe, tmp_path / "parts", resume=True, verbose=0)
    for one, other in zip(weights(whole), weights(parts), strict=True):
        np.testing.assert_array_equal(one, other)
    recorded = presets.read_metadata(publish(tmp_path / "parts"))["data"]
    assert recorded["train_examples"] == 300
    assert recorded["train_sha256"] == checksum(*load_arrays("fashion_mnist_sample", "train[:300]"))
    assert evaluate_preset(tmp_path / "parts" / "preset")[1]


class Alone:
    """Stands for the workers of which this is the only one, and counts what they agree on."""

    is_chief = True

    def __init__(self):
        self.steps = []

    def sum(self, array):
        self.steps.append(self.now())
        return array


@pytest.mark.parametrize(("seconds", "steps", "most"), [(0.01, 5000, 25), (7.0, 20, 20)])
def test_workers_agree_every_few_seconds_whatever_a_step_takes(seconds, steps, most, monkeypatch):
    clock = 0.0
    monkeypatch.setattr("keras_sae.training._checkpoint.time.monotonic", lambda: clock)
    workers = Alone()
    workers.now = lambda: clock
    run = types.SimpleNamespace(progress={"callbacks": {}, "step": 0}, workers=workers, is_chief=True)
    model = load_recipe("mnist_dense_kl").build((6, 6, 1))
    checkpoint = Checkpoint(run, model, types.SimpleNamespace(received=None), [], 1, steps + 1, seconds=1e9)
    checkpoint.set_model(model)
    checkpoint.on_train_begin()
    checkpoint.on_epoch_begin(0)
    for batch in range(steps):
        clock += seconds
        checkpoint.on_train_batch_end(batch, {"loss": 1.0})
    assert 2 <= len(workers.steps) <= most
    assert max(np.diff(workers.steps)) <= max(5.1, seconds)


@tensorflow_only
def test_a_step_of_several_leaves_the_order_as_it_is(recipe_file, tmp_path):
    overrides = ["model.sparsity={class='KSparse', k=4}", "epochs=2"]
    recipe = dataclasses.replace(load_recipe(recipe_file, overrides), k_schedule=None)
    one = train(recipe, tmp_path / "one", verbose=0)
    several = train(recipe, tmp_path / "several", verbose=0, steps_per_execution=4)  # 5 steps: only 1 divides them
    assert several.steps_per_execution == 1
    for mine, other in zip(weights(one), weights(several), strict=True):
        np.testing.assert_array_equal(mine, other)
    halves = dataclasses.replace(recipe, batch_size=50)
    pairs = [train(halves, tmp_path / f"by {n}", verbose=0, steps_per_execution=n) for n in (1, 4)]  # 6 steps: 3 divides them
    assert pairs[1].steps_per_execution == 3
    for mine, other in zip(*map(weights, pairs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)


def test_levels_are_pretrained_one_after_the_other_and_resumed(recipe_file, tmp_path):
    path = tmp_path / "small_stacked_kl.toml"
    stack = """
[model]
class = "StackedAutoencoder"
code_units = [12, 8]
sparsity = { class = "ActivityKL", target = 0.2 }

[pretrain]
epochs = [3, 2]
optimizer = { class = "Adam" }
"""
    text = recipe_file.read_text()
    before, rest = text.split("[model]")[0], text[text.index("[optimizer]") :]
    path.write_text(before + stack + rest)
    recipe = load_recipe(path, ["epochs=0"])
    model = train(recipe, tmp_path / "run", verbose=0)
    keras.utils.set_random_seed(3)
    expected = recipe.build((28, 28, 1))
    images, _ = load_arrays("fashion_mnist_sample", "train[:300]")
    for number, (level, epochs) in enumerate(zip(expected.levels, [3, 2], strict=True)):
        with expected.level_in_training(level, "adam", "mse") as trained:
            trained.fit(batches(images, 64, 3 + number), epochs=epochs, steps_per_epoch=5, shuffle=False, verbose=0)
    for mine, other in zip(weights(model), weights(expected), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    assert [path.name for path in sorted((tmp_path / "run").glob("*.csv"))] == ["history_code.csv", "history_level_1.csv"]
    tuned = train(load_recipe(path, ["epochs=1"]), tmp_path / "run", resume=True, verbose=0)
    assert (weights(tuned)[0] != weights(model)[0]).any()
    with pytest.raises(ValueError, match="StackedAutoencoder"):
        dataclasses.replace(recipe, model={"class": "DenseAutoencoder", "code_units": 3}).build((28, 28, 1))


# A rate that makes the last epoch worse than those before it.
GROWING = (
    "optimizer={class='SGD', momentum=0.9, "
    "learning_rate={class='ExponentialDecay', initial_learning_rate=2.0, decay_steps=5, decay_rate=3.0}}"
)


def test_the_best_epoch_is_kept_and_published(recipe_file, tmp_path):
    validated = ["data.train=train[:200]", "data.validation=train[200:300]", "keep_best=true"]
    recipe = load_recipe(recipe_file, [*validated, "epochs=4", GROWING])
    train(recipe, tmp_path / "run", verbose=0)
    with (tmp_path / "run" / "history.csv").open() as file:
        errors = [float(row["val_reconstruction_loss"]) for row in csv.DictReader(file)]
    best = min(range(4), key=errors.__getitem__)
    assert errors[best] < errors[-1]
    model = trained_model(tmp_path / "run", recipe, (28, 28, 1))
    x = load_arrays("fashion_mnist_sample", "train[200:300]")[0].astype("float32") / 255
    assert np.mean((model.predict(x, verbose=0) - x) ** 2) == pytest.approx(errors[best], rel=1e-4)
    with pytest.raises(ValueError, match="validation"):
        load_recipe(recipe_file, ["keep_best=true"])


def test_early_stopping_ends_a_run_which_is_then_finished(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["early_stopping={patience=1, min_delta=100.0}", "epochs=50"])
    train(recipe, tmp_path / "run", verbose=0)
    assert read_run(tmp_path / "run")["epoch"] == 2
    before = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    train(recipe, tmp_path / "run", resume=True, verbose=0)
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == before
    trained_model(tmp_path / "run", recipe, (28, 28, 1))


def test_published_weights_are_the_averages_where_the_optimizer_keeps_them(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["optimizer.use_ema=true", "optimizer.ema_momentum=0.5"])
    model = train(recipe, tmp_path / "run", verbose=0)
    for mine, other in zip(weights(model), weights(trained_model(tmp_path / "run", recipe, (28, 28, 1))), strict=True):
        np.testing.assert_array_equal(mine, other)
    plain = train(load_recipe(recipe_file), tmp_path / "plain", verbose=0)
    assert (weights(plain)[0] != weights(model)[0]).any()


def test_weight_decay_spares_what_a_recipe_names(recipe_file):
    adam = "optimizer={class='Adam', weight_decay=0.5, exclude_from_weight_decay=['bias']}"
    model = load_recipe(recipe_file, [adam]).build((28, 28, 1))
    spared = {variable.path for variable in model.trainable_variables if not model.optimizer._use_weight_decay(variable)}
    assert len(spared) == 2
    assert all("bias" in path for path in spared)


@tensorflow_only
def test_tensorboard_gets_scalars_and_pictures(recipe_file, tmp_path):
    import tensorflow as tf

    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "run", verbose=0, tensorboard=True)
    tags = set()
    for path in (tmp_path / "run" / "tensorboard").rglob("events.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            tags |= {value.tag for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value}
    assert {"reconstructions", "features", "epoch_loss", "epoch_l0", "epoch_dead_units"} <= tags


@tensorflow_only
def test_a_k_sparse_step_is_compiled_by_xla(recipe_file, tmp_path):
    # The last batch is smaller, and k is above its end: TensorFlow crashed on a choice of graphs.
    recipe = load_recipe(recipe_file, ["epochs=2", "data.train=train[:100]"])
    one, other = (train(recipe, tmp_path / str(xla), jit_compile=xla, verbose=0) for xla in (True, "auto"))
    assert (one.jit_compile, other.jit_compile) == (True, False)
    for weight, wanted in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-4, atol=1e-5)


def test_a_batch_is_not_smaller_than_the_replicas(recipe_file, tmp_path, two_replicas):
    with pytest.raises(ValueError, match="batch_size=1"):
        train(load_recipe(recipe_file, ["batch_size=1"]), tmp_path / "run", strategy=two_replicas, verbose=0)
    with pytest.raises(ValueError, match="XLA"):
        train(load_recipe(recipe_file), tmp_path / "run", strategy=two_replicas, jit_compile=True, verbose=0)


def test_a_run_is_neither_overwritten_nor_resumed_with_another_recipe(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    train(recipe, tmp_path / "run", verbose=0)
    with pytest.raises(FileExistsError, match="resume"):
        train(recipe, tmp_path / "run", verbose=0)
    with pytest.raises(ValueError, match="batch_size"):
        train(load_recipe(recipe_file, ["batch_size=32"]), tmp_path / "run", resume=True, verbose=0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ValueError, match="precision"):
            train(recipe, tmp_path / "run", resume=True, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_state_that_cannot_be_written_leaves_the_last_good_one(recipe_file, tmp_path, monkeypatch):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    before = weights(train(recipe, tmp_path / "run", verbose=0))

    def disk_is_full(file, **arrays):
        file.write(b"half a file")
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(np, "savez", disk_is_full)
        with pytest.raises(OSError, match=r"No space.*--resume"):
            train(load_recipe(recipe_file, ["epochs=2"]), tmp_path / "run", resume=True, verbose=0)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "checkpoint.npz", "history.csv", "run.json"]
    for one, other in zip(before, weights(trained_model(tmp_path / "run", recipe, (28, 28, 1))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_run_is_refused_and_left_as_it_is(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    train(recipe, tmp_path / "run", verbose=0)
    checkpoint, record = tmp_path / "run" / "checkpoint.npz", tmp_path / "run" / "run.json"
    whole, text = checkpoint.read_bytes(), record.read_text()
    middle = len(whole) // 2
    for damaged in (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole[:3000], b""):
        checkpoint.write_bytes(damaged)
        for reading in (lambda: train(recipe, tmp_path / "run", resume=True, verbose=0), lambda: publish(tmp_path / "run")):
            with pytest.raises(ValueError, match=r"checkpoint.npz' is damaged.*another output"):
                reading()
        assert checkpoint.read_bytes() == damaged
    checkpoint.write_bytes(whole)
    record.write_text(text[:50])
    with pytest.raises(ValueError, match=r"run.json' cannot be read"):
        train(recipe, tmp_path / "run", resume=True, verbose=0)


def test_a_loss_that_is_not_finite_ends_a_run_and_keeps_the_last_good_state(recipe_file, tmp_path):
    train(load_recipe(recipe_file, ["epochs=1"]), tmp_path / "run", verbose=0)
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    progress, arrays = _state.read(checkpoint)
    _state.write(checkpoint, progress, [np.full_like(each, np.inf) if each.ndim == 2 else each for each in arrays])
    before = checkpoint.read_bytes()
    with pytest.raises(FloatingPointError, match=r"epoch 2.*is kept"):
        train(load_recipe(recipe_file), tmp_path / "run", resume=True, verbose=0, checkpoint_seconds=0)
    assert checkpoint.read_bytes() == before


def test_a_recipe_describes_the_mechanisms_of_several_levels_and_noise(recipe_file, tmp_path):
    path = tmp_path / "small_deep_ksparse.toml"
    deep = """
[model]
class = "DeepAutoencoder"
hidden_units = [12]
code_units = 8
corruption = { class = "MaskingNoise", rate = 0.2 }
sparsity = { level_1 = { class = "ActivityKL", target = 0.2 }, code = [{ class = "KSparse", k = 2 }] }
"""
    text = recipe_file.read_text()
    before, rest = text.split("[model]")[0], text[text.index("[optimizer]") :]
    path.write_text(before + deep + rest)
    model = load_recipe(path).build((28, 28, 1))
    assert [type(penalty).__name__ for penalty in model.penalties_by_code["level_1"]] == ["ActivityKL"]
    assert type(model.corruption).__name__ == "MaskingNoise"
    assert model.encoder.layers[-2].k == 2
    with pytest.raises(ValueError, match="must name its `class`"):
        load_recipe(path, ["model.sparsity={ k = 2 }"]).build((28, 28, 1))
