import keras
import numpy as np
import pytest

from keras_sae.callbacks import KSchedule, PenaltySchedule
from keras_sae.layers import BatchKSparse, KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL

X = np.random.default_rng(0).uniform(size=(80, 12)).astype("float32")


def model_with(k=4):
    model = DenseAutoencoder(12, 40, sparsity=KSparse(k))
    model.compile("sgd", "mse")
    return model, model.encoder.layers[-2]


class Watch(keras.callbacks.Callback):
    """Counts the active units before each step, by running the layer as in training."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        code = np.random.default_rng(1).normal(size=(2, 40)).astype("float32")
        kept = keras.ops.convert_to_numpy(self.layer(code, training=True))
        self.seen.append(int(np.count_nonzero(kept, axis=-1).max()))


def test_falls_linearly_per_step_to_the_layers_own_k():
    model, layer = model_with(k=4)
    watch = Watch(layer)
    history = model.fit(X, batch_size=8, epochs=2, callbacks=[KSchedule(24, steps=10), watch], verbose=0)
    assert watch.seen == [24, 22, 20, 18, 16, 14, 12, 10, 8, 6] + [4] * 10
    assert history.history["k"] == [4, 4]


def test_training_under_the_schedule_keeps_as_many_as_it_says():
    # The compiled step itself, not only the layer: with start == units nothing is dropped, so it equals the linear model.
    model, _ = model_with(k=4)
    linear = DenseAutoencoder(12, 40, activation="linear", center=True)
    linear.set_weights([weight for weight in model.get_weights() if weight.ndim])
    linear.compile("sgd", "mse")
    losses = [
        m.fit(X, batch_size=80, callbacks=callbacks, verbose=0).history["loss"][0]
        for m, callbacks in ((model, [KSchedule(40, steps=1000)]), (linear, []))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_goes_on_where_it_was_after_saving(tmp_path):
    model, _ = model_with(k=4)
    model.fit(X, batch_size=8, epochs=1, callbacks=[KSchedule(44 - 4, steps=36)], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    layer = again.encoder.layers[-2]
    assert int(layer.current_k) == 30
    watch = Watch(layer)
    again.fit(X, batch_size=8, epochs=1, callbacks=[KSchedule(40, steps=36), watch], verbose=0)
    assert watch.seen[0] == 30
    assert watch.seen[1] == 29


def test_a_model_without_the_layer_is_refused():
    model = DenseAutoencoder(12, 8)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has none"):
        model.fit(X, callbacks=[KSchedule(8, 4)], verbose=0)


def test_a_start_above_the_units_is_refused():
    model, _ = model_with()
    with pytest.raises(ValueError, match="start=41, and 40 in layer"):
        model.fit(X, callbacks=[KSchedule(41, 4)], verbose=0)


def test_a_batch_k_layer_follows_too():
    model = DenseAutoencoder(12, 40, sparsity=BatchKSparse(4))
    model.compile("sgd", "mse")
    history = model.fit(X, batch_size=8, epochs=2, callbacks=[KSchedule(24, steps=15)], verbose=0)
    assert history.history["k"] == [round(24 - 20 * 10 / 15), 4]


def penalized():
    model = DenseAutoencoder(12, 8, sparsity=[ActivityKL(0.1, 0.5), keras.regularizers.L1(0.2)], activation="sigmoid")
    model.compile(keras.optimizers.SGD(0.0), "mse")  # nothing learns, so that only the schedule changes the penalty
    return model


def test_a_penalty_grows_linearly_per_step_and_is_logged_as_charged():
    model = penalized()
    full = model.evaluate(X, batch_size=80, return_dict=True, verbose=0)
    schedule = PenaltySchedule(start=0.0, steps=4, penalty="activity_kl")
    history = model.fit(X, batch_size=80, epochs=6, callbacks=[schedule], verbose=0).history
    charged = np.array([0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(history["activity_kl"], charged * full["activity_kl"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(history["activity_kl_scale"], [0.25, 0.5, 0.75, 1, 1, 1])
    np.testing.assert_allclose(history["l1"], [full["l1"]] * 6, rtol=1e-5)  # not asked for, and not moved
    assert "l1_scale" not in history


def test_a_penalty_schedule_moves_every_penalty_by_default_and_may_relax():
    history = penalized().fit(X, batch_size=80, epochs=3, callbacks=[PenaltySchedule(3.0, steps=2)], verbose=0).history
    np.testing.assert_allclose(history["activity_kl_scale"], [2, 1, 1])
    np.testing.assert_allclose(history["l1_scale"], [2, 1, 1])


def test_penalty_scales_are_saved(tmp_path):
    model = penalized()
    model.fit(X, batch_size=80, epochs=2, callbacks=[PenaltySchedule(0.0, steps=4)], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again.objective.scales), [0.5, 0.5])
    history = again.fit(X, batch_size=80, epochs=1, callbacks=[PenaltySchedule(0.0, steps=4)], verbose=0).history
    np.testing.assert_allclose(history["l1_scale"], [0.75])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_schedules_under_two_replicas(two_replicas):
    with two_replicas.scope():
        model = DenseAutoencoder(12, 40, sparsity=[KSparse(4), keras.regularizers.L1(0.1)])
        model.compile("sgd", "mse")
    history = model.fit(X, batch_size=40, epochs=2, callbacks=[KSchedule(12, 4), PenaltySchedule(0.0, 4)], verbose=0).history
    assert history["k"] == [8, 4]
    np.testing.assert_allclose(history["l1_scale"], [0.5, 1])


@pytest.mark.parametrize("sparsity", [None, KSparse(2)])
def test_a_model_without_the_penalty_is_refused(sparsity):
    model = DenseAutoencoder(12, 8, sparsity=sparsity)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no penalty"):
        model.fit(X, callbacks=[PenaltySchedule(0.0, 4)], verbose=0)
    with pytest.raises(ValueError, match="the penalties activity_kl, l1"):
        penalized().fit(X, callbacks=[PenaltySchedule(0.0, 4, penalty="kl")], verbose=0)


@pytest.mark.parametrize("arguments", [{"start": -1, "steps": 3}, {"start": 0.5, "steps": 0}, {"start": "0", "steps": 3}])
def test_bad_arguments_of_a_penalty_schedule_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        PenaltySchedule(**arguments)


@pytest.mark.parametrize("arguments", [{"start": 0, "steps": 3}, {"start": 3, "steps": 0}, {"start": 2.5, "steps": 3}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        KSchedule(**arguments)
