import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops

from keras_sae.regularizers import GaussianKL

# Two positions and two units: (mean, variance) of (1, 4), (-2, 1/4), and (0, 1), (0.5, 1).
POSTERIOR = np.array([[1.0, -2.0, np.log(4.0), np.log(0.25)], [0.0, 0.5, 0.0, 0.0]], "float32")


def value(posterior, weight=1.0):
    return float(ops.convert_to_numpy(GaussianKL(weight).penalty(posterior)))


def test_by_hand():
    first = (1 + 4 - np.log(4) - 1) / 2 + (4 + 0.25 + np.log(4) - 1) / 2
    np.testing.assert_allclose(value(POSTERIOR), (first + 0.25 / 2) / 2, rtol=1e-6)
    np.testing.assert_allclose(value(POSTERIOR, 0.3), 0.3 * value(POSTERIOR), rtol=1e-6)


def test_equals_a_mean_of_log_densities_over_draws():
    mean, variance = np.array([1.0, -2.0]), np.array([4.0, 0.25])
    noise = np.random.default_rng(0).normal(size=(400_000, 2))
    drawn = mean + np.sqrt(variance) * noise
    ratio = (np.square(drawn) - np.square(noise) - np.log(variance)) / 2  # log q - log p
    total = ratio.sum(axis=1)
    assert abs(value(POSTERIOR[:1]) - total.mean()) < 4 * total.std() / np.sqrt(len(total))


def test_a_code_that_tells_nothing_costs_nothing_and_a_small_departure_is_not_lost():
    assert value(np.zeros((4, 6), "float32")) == 0.0
    # exp(v) - v - 1 is v^2 / 2, of which a difference of numbers about 1 would keep nothing in float32.
    np.testing.assert_allclose(value(np.array([[0.0, 1e-3]], "float32")), 1e-6 / 4, rtol=1e-3)


def test_gradients_by_hand():
    mean, log_variance = np.split(POSTERIOR, 2, axis=-1)
    expected = np.concatenate([mean, (np.exp(log_variance) - 1) / 2], axis=-1) / 2  # over two positions
    np.testing.assert_allclose(gradient(GaussianKL().penalty, POSTERIOR), expected, rtol=1e-5, atol=1e-7)


def test_positions_are_averaged_and_the_batch_size_does_not_count():
    np.testing.assert_allclose(value(np.repeat(POSTERIOR, 8, axis=0)), value(POSTERIOR), rtol=1e-6)
    np.testing.assert_allclose(value(np.tile(POSTERIOR[:, None, None], (1, 3, 5, 1))), value(POSTERIOR), rtol=1e-6)
    assert value(POSTERIOR[:0]) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(dtype):
    posterior = ops.cast(np.tile(np.array([[16.0, 16.0]], "float32"), (2048, 64)), dtype)
    rounded = 64 * (16**2 + np.exp(16.0) - 16 - 1) / 2  # beyond float16, both sums and terms
    np.testing.assert_allclose(value(posterior), rounded, rtol=1e-5)


def test_wide_and_narrow_posteriors_are_finite():
    for log_variance in (88.0, -1e30):
        posterior = np.array([[0.0, log_variance]], "float32")
        assert np.isfinite(value(posterior))
        assert np.isfinite(gradient(GaussianKL().penalty, posterior)).all()
    assert value(np.array([[0.0, 89.0]], "float32")) == np.inf
    assert np.isnan(value(np.array([[np.nan, 0.0]], "float32")))


def test_as_activity_regularizer_it_is_the_same():
    layer = keras.layers.Activation("linear", activity_regularizer=GaussianKL(0.3))
    layer(POSTERIOR)
    np.testing.assert_allclose(float(layer.losses[0]), value(POSTERIOR, 0.3), rtol=1e-6)


def test_config():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(GaussianKL(0.3)))
    assert again.get_config() == {"weight": 0.3}


def test_bad_arguments_are_refused():
    for weight in (-1, float("nan"), "1"):
        with pytest.raises(ValueError, match="weight="):
            GaussianKL(weight)
    with pytest.raises(ValueError, match=r"Received: a code of shape \(4, 3\)"):
        GaussianKL().penalty(np.zeros((4, 3), "float32"))
