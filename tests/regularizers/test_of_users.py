"""A user's own regularizer as a penalty: sums are divided by the number of positions, means are taken as they are."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder
from keras_sae.regularizers import ActivityKL

X = np.random.default_rng(0).uniform(size=(32, 12)).astype("float32")

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")


class KL(keras.regularizers.Regularizer):
    """A function of rates, as users write it."""

    def __call__(self, code):
        rate = ops.mean(code, axis=0)
        return ops.sum(0.1 * ops.log(0.1 / rate) + 0.9 * ops.log(0.9 / (1 - rate)))


class Cubes(keras.regularizers.Regularizer):
    """A sum over all entries."""

    def __call__(self, code):
        return ops.sum(code**3)


class Root(keras.regularizers.Regularizer):
    """Neither a sum nor a mean."""

    def __init__(self, reduction=None):
        self.reduction = reduction

    def __call__(self, code):
        return ops.sqrt(ops.sum(code))

    def get_config(self):
        return {"reduction": self.reduction}


def charged(model, x=X, batch_size=32):
    model.compile("sgd", "mse", run_eagerly=True)
    logs = model.evaluate(x, batch_size=batch_size, return_dict=True, verbose=0)
    return next(value for name, value in logs.items() if "loss" not in name)


def test_a_mean_is_taken_as_it_is():
    model = DenseAutoencoder(12, 8, KL(), activation="sigmoid")
    code = model.encoder.predict(X, verbose=0)
    assert charged(model) == pytest.approx(float(KL()(code)), rel=1e-5)
    assert charged(model) == pytest.approx(float(ActivityKL(0.1).penalty(code)), rel=1e-3)
    assert charged(model, np.concatenate([X, X]), 64) == pytest.approx(charged(model), rel=1e-5)


def test_a_sum_is_divided_by_the_number_of_positions():
    model = DenseAutoencoder(12, 8, Cubes())
    code = model.encoder.predict(X, verbose=0)
    assert charged(model) == pytest.approx(float((code**3).sum()) / 32, rel=1e-5)
    maps = ConvolutionalAutoencoder((6, 2), [4], Cubes(), strides=2)
    code = maps.encoder.predict(X.reshape(32, 6, 2), verbose=0)
    assert charged(maps, X.reshape(32, 6, 2)) == pytest.approx(float((code**3).sum()) / (32 * 3), rel=1e-5)


def test_what_is_neither_has_to_say_which():
    with pytest.raises(ValueError, match=r'Received: .root..*reduction.*"sum".*"mean"'):
        DenseAutoencoder(12, 8, Root())
    with pytest.raises(ValueError, match="reduction='average'"):
        DenseAutoencoder(12, 8, Root("average"))
    values = {reduction: DenseAutoencoder(12, 8, Root(reduction)) for reduction in ("sum", "mean")}
    for reduction, model in values.items():
        code = model.encoder.predict(X, verbose=0)
        expected = float(np.sqrt(code.sum())) / (32 if reduction == "sum" else 1)
        assert charged(model) == pytest.approx(expected, rel=1e-5)


def test_weights_are_refused_because_no_formula_is_known():
    model = DenseAutoencoder(12, 8, Cubes())
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="'cubes' cannot weight positions"):
        model.fit(X, sample_weight=np.ones(32), verbose=0)


@tensorflow_only
def test_a_mean_of_the_global_batch_under_replicas(two_replicas):
    def trained():
        keras.utils.set_random_seed(0)
        model = DenseAutoencoder(12, 8, KL(), activation="sigmoid")
        model.compile(keras.optimizers.SGD(0.1), "mse")
        history = model.fit(X, batch_size=32, epochs=2, shuffle=False, verbose=0).history
        return history["kl"], model.get_weights()

    alone, weights = trained()
    with two_replicas.scope():
        together, same = trained()
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
