import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import GaussianSample, MaskingNoise, SaltAndPepperNoise

X = np.random.default_rng(0).uniform(0.2, 0.8, (50, 400)).astype("float32")


def run(layer, x=X, training=True):
    return ops.convert_to_numpy(ops.cast(layer(x, training=training), "float32"))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_masking_zeroes_the_share_and_leaves_the_rest_unscaled(rate):
    noisy = run(MaskingNoise(rate, seed=1))
    np.testing.assert_array_equal(noisy[noisy != 0], X[noisy != 0])
    assert abs((noisy == 0).mean() - rate) < 0.015


def test_salt_and_pepper_are_as_many():
    noisy = run(SaltAndPepperNoise(0.4, low=-1, high=2, seed=1))
    assert abs((noisy == -1).mean() - 0.2) < 0.015
    assert abs((noisy == 2).mean() - 0.2) < 0.015
    left = (noisy != -1) & (noisy != 2)
    np.testing.assert_array_equal(noisy[left], X[left])


@pytest.mark.parametrize("make", [MaskingNoise, SaltAndPepperNoise])
def test_in_training_only_and_anew_each_time(make):
    layer = make(0.3, seed=1)
    np.testing.assert_array_equal(run(layer, training=False), X)
    assert (run(layer) != run(layer)).any()
    np.testing.assert_array_equal(run(make(0.3, seed=1)), run(make(0.3, seed=1)))
    assert run(layer, X[:0]).shape == (0, 400)


@pytest.mark.parametrize("make", [MaskingNoise, SaltAndPepperNoise])
def test_half_precision_and_config(make):
    layer = make(0.3, seed=4, dtype="mixed_float16")
    assert keras.backend.standardize_dtype(layer(X, training=True).dtype) == "float16"
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("arguments", [{"rate": -0.1}, {"rate": 1.1}, {"rate": "0.1"}, {"rate": True}, {"rate": float("nan")}])
@pytest.mark.parametrize("make", [MaskingNoise, SaltAndPepperNoise])
def test_bad_rates_are_refused(make, arguments):
    with pytest.raises(ValueError, match="Received"):
        make(**arguments)


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match=r"above 1\. Received: high=0"):
        SaltAndPepperNoise(0.1, low=1, high=0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
@pytest.mark.parametrize(
    "make", [lambda: MaskingNoise(0.5, 1), lambda: SaltAndPepperNoise(0.5, seed=1), lambda: GaussianSample(1)]
)
def test_each_replica_draws_noise_of_its_own_anew_each_time(make, two_replicas):
    import tensorflow as tf

    with two_replicas.scope():
        layer = make()
        layer.build((None, 100))
    step = tf.function(lambda: layer(tf.fill((2, 100), 0.4), training=True))
    draws = [two_replicas.experimental_local_results(two_replicas.run(step)) for _ in range(3)]
    rows = [row.numpy().tobytes() for replicas in draws for values in replicas for row in values]
    assert len(set(rows)) == len(rows) == 12
