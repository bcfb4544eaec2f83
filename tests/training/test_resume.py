"""Runs that are stopped, killed, damaged or resumed."""

import dataclasses
import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_sae import datasets, presets
from keras_sae.datasets import load_arrays
from keras_sae.training import Stopped, _state, evaluate_preset, load_recipe, publish, read_run, train
from keras_sae.training._history import HistoryLog
from keras_sae.training._publish import checksum, trained_model
from keras_sae.training._recipe import from_data
from keras_sae.training._run import Run

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is about TensorFlow")


class Presses(keras.callbacks.Callback):
    """Sends this process a signal after a step of an epoch. Both count from 0."""

    def __init__(self, epoch, step, signum):
        super().__init__()
        self.at = epoch, step
        self.signum = signum

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            os.kill(os.getpid(), self.signum)


def stopped_at(recipe, output, epoch, step, signum=signal.SIGINT):
    """Trains, or continues, until a signal after a step. Returns the exception that ends training."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell or a library may have changed them
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(Stopped) as stopped:
        train(recipe, output, resume=True, verbose=0, callbacks=[Presses(epoch, step, signum)])
    return stopped.value


def test_a_resumed_run_ends_like_one_that_was_never_stopped(recipe_file, tmp_path, trained):
    whole = train(load_recipe(recipe_file), tmp_path / "whole", verbose=0)
    train(load_recipe(recipe_file, ["epochs=3"]), trained, resume=True, verbose=0)
    parts = train(load_recipe(recipe_file), trained, resume=True, verbose=0)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "whole" / "history.csv").read_text() == (trained / "history.csv").read_text()


# Everything that has state: noise, running means, averages, schedules, dead units, callbacks.
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


def test_a_run_stopped_within_epochs_ends_like_one_that_was_never_stopped(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["epochs=4", *NOISY])
    whole = train(recipe, tmp_path / "whole", verbose=0)
    for epoch, step, reached in ((1, 4, 5), (2, 6, 7)):
        stopped_at(recipe, tmp_path / "parts", epoch, step)
        assert (read_run(tmp_path / "parts")["epoch"], read_run(tmp_path / "parts")["step"]) == (epoch, reached)
    parts = train(recipe, tmp_path / "parts", resume=True, verbose=0)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    (first, mine), (second, other) = (_state.read(tmp_path / run / "checkpoint.npz") for run in ("parts", "whole"))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert len(mine) > 20
    for one, two in zip(mine, other, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


DETERMINISTIC = """
import sys, time, tensorflow as tf, keras
tf.config.experimental.enable_op_determinism()
from keras_sae.training import load_recipe, train
class Slowly(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(sys.argv[3]))
recipe = load_recipe(sys.argv[1], sys.argv[4:])
train(recipe, sys.argv[2], resume=True, verbose=0, checkpoint_seconds=0.3, callbacks=[Slowly()])
"""


@pytest.mark.slow
@tensorflow_only
def test_a_killed_run_ends_like_one_that_was_never_killed(recipe_file, tmp_path, in_fresh_process):
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
    in_fresh_process(DETERMINISTIC, recipe_file, tmp_path / "killed", "0", *overrides)
    in_fresh_process(DETERMINISTIC, recipe_file, tmp_path / "whole", "0", *overrides)
    (_, one), (_, other) = (_state.read(tmp_path / run / "checkpoint.npz") for run in ("killed", "whole"))
    assert len(one) > 20
    for mine, whole in zip(one, other, strict=True):
        assert mine.tobytes() == whole.tobytes()
    assert (tmp_path / "killed" / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()


@tensorflow_only  # other backends draw other noise
def test_a_run_that_was_saved_before_modules_became_private_resumes(tmp_path):
    # It was stopped within the third epoch of at most six, with one epoch of patience left and a report of dead units.
    saved, run = Path(__file__).parent / "saved_before", tmp_path / "run"
    run.mkdir()
    for file in (saved / "stopped").iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    recipe = from_data(read_run(run)["recipe"])
    centred = dataclasses.replace(recipe, model={**recipe.model, "center": True})
    with pytest.raises(ValueError, match=r"model\.center=false"):
        train(centred, run, resume=True, verbose=0)
    train(recipe, run, resume=True, verbose=0)
    (progress, arrays), (finished, expected) = (_state.read(each / "checkpoint.npz") for each in (run, saved / "finished"))
    assert (progress["epoch"], progress["step"], progress["stopped_early"]) == (3, 0, True)
    assert progress["callbacks"]["EarlyStopping"] == finished["callbacks"]["EarlyStopping"]
    assert progress["callbacks"]["DeadUnitMonitor"]["last_report"] == finished["callbacks"]["DeadUnitMonitor"]["_report"]
    for mine, other in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
    rows, wanted = ((each / "history.csv").read_text().splitlines() for each in (run, saved / "finished"))
    assert rows[:3] == wanted[:3]  # the third epoch is new, and its sums may be rounded otherwise
    np.testing.assert_allclose(*(np.array(lines[3].split(","), float) for lines in (rows, wanted)), rtol=1e-4)


def test_two_processes_do_not_train_in_one_directory(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    with Run(tmp_path / "run", recipe, resume=False), pytest.raises(BlockingIOError, match="Another process"):
        Run(tmp_path / "run", recipe, resume=True)
    with Run(tmp_path / "run", recipe, resume=False):  # the first is done
        pass


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_after_a_step_with_everything_saved(signum, recipe_file, tmp_path):
    assert stopped_at(load_recipe(recipe_file), tmp_path / "run", 0, 2, signum).signum == signum
    assert (read_run(tmp_path / "run")["epoch"], read_run(tmp_path / "run")["step"]) == (0, 3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_callbacks_remember_the_epoch_in_which_a_run_was_resumed(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["early_stopping={patience=1, min_delta=100.0}", "epochs=9"])
    stopped_at(recipe, tmp_path / "run", 0, 2)
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
    stopped_at(recipe, tmp_path / "parts", 0, 1)
    assert read_run(tmp_path / "parts")["step"] == 2
    parts = train(recipe, tmp_path / "parts", resume=True, verbose=0)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    recorded = presets.read_metadata(publish(tmp_path / "parts"))["data"]
    assert recorded["train_examples"] == 300
    assert recorded["train_sha256"] == checksum(*load_arrays("fashion_mnist_sample", "train[:300]"))
    assert evaluate_preset(tmp_path / "parts" / "preset")[1]


def test_a_run_is_neither_overwritten_nor_resumed_with_another_recipe(recipe_file, trained):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    with pytest.raises(FileExistsError, match="resume"):
        train(recipe, trained, verbose=0)
    with pytest.raises(ValueError, match="batch_size"):
        train(load_recipe(recipe_file, ["batch_size=32"]), trained, resume=True, verbose=0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ValueError, match="precision"):
            train(recipe, trained, resume=True, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_state_that_cannot_be_written_leaves_the_previous_one(recipe_file, trained, monkeypatch):
    before = (trained / "checkpoint.npz").read_bytes()

    def disk_is_full(file, **arrays):
        file.write(b"half a file")
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(np, "savez", disk_is_full)
        with pytest.raises(OSError, match=r"No space.*--resume"):
            train(load_recipe(recipe_file, ["epochs=2"]), trained, resume=True, verbose=0)
    assert sorted(path.name for path in trained.iterdir()) == [".lock", "checkpoint.npz", "history.csv", "run.json"]
    assert (trained / "checkpoint.npz").read_bytes() == before
    trained_model(trained, load_recipe(recipe_file, ["epochs=1"]), (28, 28, 1))


class FullDisk(io.StringIO):
    """A file of which a part still fits on the disk."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def write(self, text):
        with self.path.open("ab") as file:
            file.write(text[:1].encode())
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_history_on_a_full_disk_keeps_its_rows(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    history = HistoryLog(path, 0)
    history.on_epoch_end(0, {"loss": 1.0})
    before = path.read_text()
    opened = Path.open
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda self, mode="r", **more: FullDisk(self) if mode == "a" else opened(self, mode, **more))
        with pytest.raises(OSError, match=r"history.csv.*No space left.*--resume"):
            history.on_epoch_end(1, {"loss": 0.5})
    assert path.read_text() == before
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", lambda self, text: FullDisk(self).write(text))
        with pytest.raises(OSError, match=r"history.csv.*No space left.*--resume"):
            history.on_epoch_end(1, {"loss": 0.5, "more": 1.0})
    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["history.csv"]
    history.on_epoch_end(1, {"loss": 0.5, "more": 1.0})
    assert len(path.read_text().splitlines()) == 3


def test_a_damaged_run_is_refused_and_left_as_it_is(recipe_file, trained):
    recipe = load_recipe(recipe_file, ["epochs=1"])
    checkpoint, record = trained / "checkpoint.npz", trained / "run.json"
    whole, text = checkpoint.read_bytes(), record.read_text()
    middle = len(whole) // 2
    for damaged in (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole[:3000], b""):
        checkpoint.write_bytes(damaged)
        for reading in (lambda: train(recipe, trained, resume=True, verbose=0), lambda: publish(trained)):
            with pytest.raises(ValueError, match=r"checkpoint.npz' is damaged.*another output"):
                reading()
        assert checkpoint.read_bytes() == damaged
    checkpoint.write_bytes(whole)
    record.write_text(text[:50])
    with pytest.raises(ValueError, match=r"run.json' cannot be read"):
        train(recipe, trained, resume=True, verbose=0)


def test_a_loss_that_is_not_finite_ends_a_run_and_keeps_the_last_good_state(recipe_file, trained):
    checkpoint = trained / "checkpoint.npz"
    progress, arrays = _state.read(checkpoint)
    _state.write(checkpoint, progress, [np.full_like(each, np.inf) if each.ndim == 2 else each for each in arrays])
    before = checkpoint.read_bytes()
    with pytest.raises(FloatingPointError, match=r"epoch 2.*is kept"):
        train(load_recipe(recipe_file), trained, resume=True, verbose=0, checkpoint_seconds=0)
    assert checkpoint.read_bytes() == before


def test_a_run_is_not_resumed_with_fewer_epochs_than_it_has_done(recipe_file, trained):
    train(load_recipe(recipe_file, ["epochs=2"]), trained, resume=True, verbose=0)
    before = (trained / "run.json").read_bytes()
    with pytest.raises(ValueError, match="has done 2 epochs of this phase, and the recipe now has 1"):
        train(load_recipe(recipe_file, ["epochs=1"]), trained, resume=True, verbose=0)
    assert (trained / "run.json").read_bytes() == before
    (trained / "run.json").write_text(before.decode().replace('"epochs": 2', '"epochs": 1'))
    with pytest.raises(ValueError, match="has done 2 epochs"):  # as an earlier release left it
        publish(trained)


def test_a_run_is_neither_resumed_nor_published_on_replaced_data(recipe_file, tmp_path, monkeypatch):
    images, labels = load_arrays("fashion_mnist_sample", "train[:60]")
    np.savez(tmp_path / "mine.npz", train_image=images, train_label=labels, test_image=images, test_label=labels)
    changes = ["data.name=mine", "data.train=train[:50]", "data.validation=train[50:]", "data.test=test", "epochs=1"]
    recipe = dataclasses.replace(load_recipe(recipe_file, changes), suite_options={})
    train(recipe, tmp_path / "run", tmp_path, verbose=0)
    longer = dataclasses.replace(recipe, epochs=2)
    for name, rows in (("train", slice(50)), ("validation", slice(50, None))):
        replaced = images.copy()
        replaced[rows][0] = 255 - replaced[rows][0]
        np.savez(tmp_path / "mine.npz", train_image=replaced, train_label=labels, test_image=images, test_label=labels)
        with pytest.raises(ValueError, match=rf"was trained on other data than data\.{name} holds now"):
            train(longer, tmp_path / "run", tmp_path, resume=True, verbose=0)
        if name == "train":
            with pytest.raises(ValueError, match="was trained on other data"):
                publish(tmp_path / "run", tmp_path)
    np.savez(tmp_path / "mine.npz", train_image=images, train_label=labels[::-1], test_image=images, test_label=labels)
    train(longer, tmp_path / "run", tmp_path, resume=True, verbose=0)  # it does not train on labels
    assert read_run(tmp_path / "run")["epoch"] == 2
