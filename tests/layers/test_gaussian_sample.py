import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops

from keras_sae.layers import GaussianSample

# Two units: N(1, 4) and N(-2, 1/4).
POSTERIOR = np.array([[1.0, -2.0, np.log(4.0), np.log(0.25)]], "float32")
MANY = np.repeat(POSTERIOR, 40_000, axis=0)


def run(layer, x=POSTERIOR, training=True):
    return ops.convert_to_numpy(ops.cast(layer(x, training=training), "float32"))


def test_the_mean_at_inference():
    np.testing.assert_array_equal(run(GaussianSample(), training=False), [[1, -2]])
    np.testing.assert_array_equal(ops.convert_to_numpy(GaussianSample()(POSTERIOR)), [[1, -2]])


def test_draws_have_the_mean_and_the_variance_that_they_are_given():
    drawn = run(GaussianSample(seed=1), MANY)
    # Four standard errors: of a mean sqrt(variance / n), of a variance variance * sqrt(2 / n).
    assert (np.abs(drawn.mean(axis=0) - [1, -2]) < 4 * np.array([2, 0.5]) / 200).all()
    assert (np.abs(drawn.var(axis=0) / [4, 0.25] - 1) < 4 * np.sqrt(2) / 200).all()
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 4 / 200


def test_positions_are_drawn_apart():
    maps = np.tile(POSTERIOR, (5, 3, 2, 1))
    drawn = run(GaussianSample(seed=1), maps)
    assert drawn.shape == (5, 3, 2, 2)
    assert len(np.unique(drawn)) == drawn.size
    assert run(GaussianSample(), maps[:0]).shape == (0, 3, 2, 2)


def test_a_seed_fixes_the_draws_and_each_call_draws_anew():
    layer = GaussianSample(seed=1)
    first = run(layer)
    assert (run(layer) != first).all()
    np.testing.assert_array_equal(run(GaussianSample(seed=1)), first)
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        drawn.append(run(GaussianSample()))
    np.testing.assert_array_equal(*drawn)


def test_gradients_flow_through_the_draw():
    def drawn(x):
        return ops.sum(GaussianSample(seed=1)(x, training=True))

    deviation = np.array([2, 0.5])
    noise = (run(GaussianSample(seed=1))[0] - [1, -2]) / deviation
    # d code / d mean = 1, and d code / d log variance = deviation * noise / 2.
    np.testing.assert_allclose(gradient(drawn, POSTERIOR), [[1, 1, *(deviation * noise / 2)]], rtol=1e-5)


def test_the_deviation_is_taken_in_float32():
    layer = GaussianSample(dtype="mixed_float16", seed=1)
    assert keras.backend.standardize_dtype(layer(POSTERIOR, training=True).dtype) == "float16"
    # A deviation of exp(23 / 2) is beyond float16; most of what is drawn with it is not.
    wide = np.repeat([[0.0, 23.0]], 100, axis=0).astype("float32")
    exact = run(GaussianSample(seed=1), wide)
    fits = np.abs(exact) < 65000
    assert fits.sum() > 30
    np.testing.assert_allclose(run(GaussianSample(dtype="mixed_float16", seed=1), wide)[fits], exact[fits], rtol=1e-3)
    if keras.backend.backend() != "jax":  # JAX has no float64 by default
        exact = GaussianSample(dtype="float64", seed=1)(POSTERIOR.astype("float64"), training=True)
        assert keras.backend.standardize_dtype(exact.dtype) == "float64"


def test_config():
    layer = GaussianSample(seed=4, name="code", dtype="mixed_float16")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert layer.compute_output_shape((None, 3, 8)) == (None, 3, 4)


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match=r"input_shape=\(1, 3\)"):
        GaussianSample()(np.zeros((1, 3), "float32"))
