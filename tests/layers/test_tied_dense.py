import keras
import numpy as np
import pytest

from keras_sae.layers import TiedDense


def built_dense(inputs=6, units=4):
    dense = keras.layers.Dense(units)
    dense.build((None, inputs))
    return dense


def test_is_the_transposed_kernel_plus_a_bias_of_its_own():
    dense = built_dense()
    tied = TiedDense(dense, activation="relu")
    codes = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    tied.build(codes.shape)
    tied.bias.assign(np.arange(6, dtype="float32"))
    expected = np.maximum(codes @ keras.ops.convert_to_numpy(dense.kernel).T + np.arange(6), 0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(tied(codes)), expected, rtol=1e-5)


def test_follows_the_kernel_when_it_changes():
    dense = built_dense()
    tied = TiedDense(dense, use_bias=False)
    tied(np.ones((1, 4), "float32"))
    dense.kernel.assign(np.ones((6, 4)))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(tied(np.ones((1, 4), "float32"))), np.full((1, 6), 4.0))


def test_an_unbuilt_layer_is_refused():
    with pytest.raises(ValueError, match="must be built"):
        TiedDense(keras.layers.Dense(4))(np.ones((1, 4), "float32"))


def test_codes_of_another_width_are_refused():
    with pytest.raises(ValueError, match="4 units"):
        TiedDense(built_dense())(np.ones((1, 5), "float32"))


def test_something_that_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="tied_to"):
        TiedDense("encode")
