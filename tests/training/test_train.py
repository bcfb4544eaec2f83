"""`train`: phases, compiled steps, chosen epochs, averages, logs, and callbacks of the user."""

import csv
import dataclasses
import importlib.util
import warnings

import keras
import numpy as np
import pytest

from keras_sae.datasets import batches, load_arrays
from keras_sae.training import load_recipe, read_run, train
from keras_sae.training._publish import trained_model

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is about TensorFlow")


@tensorflow_only
def test_several_steps_per_execution_leave_the_order_as_it_is(recipe_file, tmp_path):
    # 300 images in batches of 64 make 5 steps, which only 1 divides; in batches of 50, 6 steps, which 3 divides.
    recipe = dataclasses.replace(
        load_recipe(recipe_file, ["model.sparsity={class='KSparse', k=4}", "epochs=2"]), k_schedule=None
    )
    assert train(recipe, tmp_path / "by 1", verbose=0, steps_per_execution=4).steps_per_execution == 1
    halves = dataclasses.replace(recipe, batch_size=50)
    one, several = (train(halves, tmp_path / f"of {n}", verbose=0, steps_per_execution=n) for n in (1, 4))
    assert several.steps_per_execution == 3
    for mine, other in zip(one.get_weights(), several.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)


STACK = """
[model]
class = "StackedAutoencoder"
code_units = [12, 8]
sparsity = { class = "ActivityKL", target = 0.2 }

[pretrain]
epochs = [3, 2]
optimizer = { class = "Adam" }
"""


def test_levels_are_pretrained_one_after_the_other_and_resumed(recipe_file, tmp_path):
    path, text = tmp_path / "small_stacked_kl.toml", recipe_file.read_text()
    path.write_text(text.split("[model]")[0] + STACK + text[text.index("[optimizer]") :])
    recipe = load_recipe(path, ["epochs=0"])
    model = train(recipe, tmp_path / "run", verbose=0)
    keras.utils.set_random_seed(3)
    expected = recipe.build((28, 28, 1))
    images, _ = load_arrays("fashion_mnist_sample", "train[:300]")
    for number, (level, epochs) in enumerate(zip(expected.levels, [3, 2], strict=True)):
        with expected.level_in_training(level, "adam", "mse") as trained:
            trained.fit(batches(images, 64, 3 + number), epochs=epochs, steps_per_epoch=5, shuffle=False, verbose=0)
    for mine, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    assert [path.name for path in sorted((tmp_path / "run").glob("*.csv"))] == ["history_code.csv", "history_level_1.csv"]
    tuned = train(load_recipe(path, ["epochs=1"]), tmp_path / "run", resume=True, verbose=0)
    assert (tuned.get_weights()[0] != model.get_weights()[0]).any()
    with pytest.raises(ValueError, match="StackedAutoencoder"):
        dataclasses.replace(recipe, model={"class": "DenseAutoencoder", "code_units": 3}).build((28, 28, 1))


REFIT = [
    "k_schedule={start=4, epochs=1}",
    "model.tied=false",
    "model.sparsity={class='WinnerTakeAll', lifetime=0.05}",
    "model.corruption={class='MaskingNoise', rate=0.5}",
]


def winners(recipe_file, *overrides):
    """The recipe of a model whose winners stay in training only."""
    return dataclasses.replace(load_recipe(recipe_file, [*REFIT, *overrides]), k_schedule=None)


def test_the_decoder_is_refitted_to_the_codes_that_it_reads(recipe_file, tmp_path):
    plain = winners(recipe_file, "epochs=2")
    recipe = winners(recipe_file, "epochs=2", "refit_decoder={epochs=3, optimizer={class='Adam', learning_rate=0.003}}")
    images = load_arrays("fashion_mnist_sample", "train[:300]")[0].astype("float32") / 255
    before = train(plain, tmp_path / "run", verbose=0)
    after = train(recipe, tmp_path / "run", resume=True, verbose=0)  # a finished run takes it
    codes = [model.encoder.predict(images, verbose=0) for model in (before, after)]
    np.testing.assert_array_equal(*codes)
    errors = [np.mean((model.predict(images, verbose=0) - images) ** 2) for model in (before, after)]
    assert errors[1] < 0.8 * errors[0]
    # Adam on the codes of the encoder at inference, with neither noise nor winners.
    decoder = before.decoder
    decoder.compile(keras.optimizers.Adam(0.003), "mse")
    for epoch in range(3):
        rows = np.random.default_rng([recipe.seed + 1, epoch]).permutation(300)
        for start in range(0, 300, 64):
            chosen = rows[start : start + 64]
            decoder.train_on_batch(codes[0][chosen], images[chosen])
    for mine, expected in zip(after.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)
    published = trained_model(tmp_path / "run", recipe, (28, 28, 1))
    for mine, other in zip(after.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    with pytest.raises(ValueError, match="3 epochs of the whole model, 3 epochs of decoder"):
        train(dataclasses.replace(recipe, epochs=3), tmp_path / "run", resume=True, verbose=0)
    with pytest.raises(ValueError, match="refit_decoder differ"):
        train(plain, tmp_path / "run", resume=True, verbose=0)


def test_a_decoder_that_shares_its_kernels_is_not_refitted(recipe_file):
    with pytest.raises(ValueError, match=r"shares its kernels.*tied = false"):
        winners(recipe_file, "refit_decoder={epochs=1}", "model.tied=true").build((28, 28, 1))


@pytest.mark.slow
def test_the_decoder_of_the_best_epoch_is_refitted(recipe_file, tmp_path):
    validated = ["data.train=train[:200]", "data.validation=train[200:300]", "keep_best=true", "epochs=4", GROWING]
    refit = "refit_decoder={epochs=1, optimizer={class='SGD', learning_rate=1e-30}}"
    best = winners(recipe_file, *validated)
    train(best, tmp_path / "best", verbose=0)
    expected = trained_model(tmp_path / "best", best, (28, 28, 1))
    model = train(winners(recipe_file, *validated, refit), tmp_path / "run", verbose=0)
    for mine, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


# A rate that makes the last epoch worse than those before it.
GROWING = (
    "optimizer={class='SGD', momentum=0.9, "
    "learning_rate={class='ExponentialDecay', initial_learning_rate=2.0, decay_steps=5, decay_rate=3.0}}"
)


def test_the_best_epoch_is_kept_for_the_preset(recipe_file, tmp_path):
    validated = ["data.train=train[:200]", "data.validation=train[200:300]", "keep_best=true"]
    recipe = load_recipe(recipe_file, [*validated, "epochs=4", "model.center=false", GROWING])
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


def test_early_stopping_finishes_a_run(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["early_stopping={patience=1, min_delta=100.0}", "epochs=50"])
    train(recipe, tmp_path / "run", verbose=0)
    assert read_run(tmp_path / "run")["epoch"] == 2
    before = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    train(recipe, tmp_path / "run", resume=True, verbose=0)
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == before
    trained_model(tmp_path / "run", recipe, (28, 28, 1))


def test_published_weights_are_the_averages_if_the_optimizer_keeps_them(recipe_file, tmp_path, trained):
    recipe = load_recipe(recipe_file, ["epochs=1", "optimizer.use_ema=true", "optimizer.ema_momentum=0.5"])
    model = train(recipe, tmp_path / "run", verbose=0)
    published = trained_model(tmp_path / "run", recipe, (28, 28, 1))
    for mine, other in zip(model.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    plain = trained_model(trained, load_recipe(recipe_file, ["epochs=1"]), (28, 28, 1))
    assert (plain.trainable_variables[0].numpy() != model.trainable_variables[0].numpy()).any()


class Witness(keras.callbacks.Callback):
    """Keeps the logs of each epoch, adds a value to them, and stops training after the epoch `last`."""

    def __init__(self, last=None):
        super().__init__()
        self.last = last
        self.seen = {}

    def on_epoch_end(self, epoch, logs=None):
        self.seen[epoch] = dict(logs)
        logs["witnessed"] = 1.0
        if epoch == self.last:
            self.model.stop_training = True


def test_callbacks_come_after_those_of_the_recipe_and_start_from_scratch_when_resumed(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["dead_units={images=20}", "epochs=2"])
    witness = Witness()
    train(recipe, tmp_path / "run", verbose=0, callbacks=[witness])
    assert list(witness.seen) == [0, 1]
    assert "dead_units" in witness.seen[0]  # which the recipe's callback logs
    with (tmp_path / "run" / "history.csv").open() as file:
        assert [float(row["witnessed"]) for row in csv.DictReader(file)] == [1, 1]
    # Within two epochs, patience ran out. Resumed, the callback waits for one epoch again.
    stopping, witness = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100.0, mode="min"), Witness()
    longer = dataclasses.replace(recipe, epochs=9)
    train(longer, tmp_path / "run", resume=True, verbose=0, callbacks=[stopping, witness])
    assert list(witness.seen) == [2, 3]
    assert read_run(tmp_path / "run")["stopped_early"]


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
def test_without_tensorboard_the_message_has_the_command(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "keras_sae\[tensorboard\]"'):
        train(load_recipe(recipe_file), tmp_path / "run", verbose=0, tensorboard=True)
    assert not (tmp_path / "run").exists()


@tensorflow_only
def test_a_k_sparse_step_is_compiled_by_xla(recipe_file, tmp_path):
    # The last batch is smaller, and k is above its end: TensorFlow crashed on a choice of graphs.
    recipe = load_recipe(recipe_file, ["epochs=2", "data.train=train[:100]"])
    one, other = (train(recipe, tmp_path / str(xla), jit_compile=xla, verbose=0) for xla in (True, "auto"))
    assert (one.jit_compile, other.jit_compile) == (True, False)
    for weight, wanted in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-4, atol=1e-5)


def test_options_that_do_not_fit_a_strategy_are_refused_first(recipe_file, tmp_path, two_replicas):
    with pytest.raises(ValueError, match="batch_size=1"):
        train(load_recipe(recipe_file, ["batch_size=1"]), tmp_path / "run", strategy=two_replicas, verbose=0)
    with pytest.raises(ValueError, match="XLA"):
        train(load_recipe(recipe_file), tmp_path / "run", strategy=two_replicas, jit_compile=True, verbose=0)
    assert not (tmp_path / "run").exists()


def test_training_that_is_shorter_than_a_schedule_warns(recipe_file):
    recipe = load_recipe(recipe_file, ["epochs=1", "penalty_schedule={start=0.0, epochs=3}"])
    model = recipe.build((28, 28, 1))
    with pytest.warns(UserWarning, match="_schedule of the recipe takes") as caught:
        recipe.warn_of_schedules(model)
    texts = [str(warning.message) for warning in caught]
    assert ["k_schedule.epochs=1" in texts[0], "penalty_schedule.epochs=1" in texts[1], len(texts)] == [True, True, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataclasses.replace(recipe, epochs=3).warn_of_schedules(model)
