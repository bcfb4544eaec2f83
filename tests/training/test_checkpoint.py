"""When a run saves, and what its callbacks remember."""

import types

import keras
import numpy as np
import pytest

from keras_sae.callbacks import DeadUnitMonitor
from keras_sae.models import DenseAutoencoder
from keras_sae.training import load_recipe
from keras_sae.training._callback_state import STATE, restore_state, state_of
from keras_sae.training._checkpoint import Checkpoint


class Alone:
    """Stands for workers of which this is the only one, and notes when they agree."""

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


def observed(make, epochs, split):
    """What a callback does in each epoch, and its state at the end, if another one takes over before the epoch `split`."""
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(4, 3)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    state, seen = {}, []
    for first, last in ((0, split), (split, epochs)):
        callback = make()
        callback.set_model(model)
        model.stop_training = False
        callback.on_train_begin()
        restore_state(state, [callback])
        for epoch in range(first, last):
            logs = {"loss": LOSSES[epoch]}
            callback.on_epoch_end(epoch, logs)
            seen.append((logs, model.stop_training))
        state = state_of([callback])
    return seen, state


LOSSES = [5.0, 4.0, 4.5, 4.4, 4.3, 3.0, 3.5]
CASES = {
    keras.callbacks.EarlyStopping: lambda: keras.callbacks.EarlyStopping("loss", patience=3, mode="min"),
    DeadUnitMonitor: lambda: DeadUnitMonitor(np.ones((2, 4), "float32"), every=3),
}


@pytest.mark.parametrize("kind", STATE, ids=lambda kind: kind.__name__)
def test_a_callback_whose_state_is_restored_continues_as_if_nothing_had_happened(kind):
    whole, state = observed(CASES[kind], 5, 5)
    for split in range(1, 5):
        assert observed(CASES[kind], 5, split) == (whole, state)
    assert set(state[kind.__name__]) == set(STATE[kind])
    if kind is keras.callbacks.EarlyStopping:  # the loss did not improve for 3 epochs after the second
        assert [stop for _, stop in whole] == [False] * 4 + [True]
        assert state["EarlyStopping"] == {"wait": 3, "best": 4.0, "best_epoch": 1, "stopped_epoch": 4}
