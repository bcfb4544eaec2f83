"""Units that start as samples of what a layer reads."""

import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, start_from_samples


def test_every_unit_of_a_convolution_is_a_patch_of_the_images_scaled_to_norm_one():
    images = np.random.default_rng(0).random((5, 7, 6, 2), "float32")
    model = ConvolutionalAutoencoder((7, 6, 2), 40, KSparse(1), kernel_size=3, strides=1, center=False)
    start_from_samples(model, images, seed=1)
    layer = model.encoder.get_layer("encode")
    units = keras.ops.convert_to_numpy(layer.kernel).reshape(18, 40).T
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    patches = np.moveaxis(windows, 3, -1).reshape(-1, 18)
    patches = patches / np.linalg.norm(patches, axis=1, keepdims=True)
    np.testing.assert_allclose((units @ patches.T).max(axis=1), 1, rtol=1e-5)
    assert len(np.unique(units.round(5), axis=0)) > 30
    assert not keras.ops.convert_to_numpy(layer.bias).any()


def test_blank_inputs_start_no_unit_and_the_seed_decides():
    rows = np.concatenate([np.zeros((50, 4)), np.eye(4)]).astype("float32")

    def kernel(seed):
        model = DenseAutoencoder((4,), 8, KSparse(1), tied=True, center=False)
        start_from_samples(model, rows, seed=seed)
        return keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel)

    np.testing.assert_array_equal(kernel(0).sum(axis=0), 1)
    np.testing.assert_array_equal(kernel(0), kernel(0))
    assert (kernel(0) != kernel(1)).any()
    model = DenseAutoencoder((4,), 8, KSparse(1), center=False)
    with pytest.raises(ValueError, match="zero"):
        start_from_samples(model, np.zeros((5, 4), "float32"))


@pytest.mark.parametrize("tied", [True, False])
def test_the_scale_is_the_one_of_least_squared_error(tied):
    x = np.random.default_rng(0).normal(2, 1, (60, 5)).astype("float32")
    model = DenseAutoencoder(5, 30, KSparse(3), tied=tied, center=True)
    model.adapt(x)
    encode, decode = model.layers_around_code
    if not tied:
        start_from_samples(model, x)
        decode.kernel.assign(keras.ops.transpose(encode.kernel))

    def error(factor):
        encode.kernel.assign(factor * kernel)
        return np.square(model.predict(x, verbose=0) - x).mean()

    start_from_samples(model, x, scaled=True)
    kernel = keras.ops.convert_to_numpy(encode.kernel)
    assert error(1.0) < min(error(0.97), error(1.03))
    start_from_samples(model, x)
    assert np.linalg.norm(kernel) < 0.9 * np.linalg.norm(keras.ops.convert_to_numpy(encode.kernel))


def test_a_scale_that_does_not_fit_is_refused_and_changes_nothing():
    x = np.random.default_rng(0).random((40, 5), "float32")
    model = DenseAutoencoder(5, 8, KSparse(3), tied=True, center=False, output_activation="sigmoid")
    with pytest.raises(ValueError, match="proportional"):
        start_from_samples(model, x, scaled=True)
    norms = np.linalg.norm(keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel), axis=0)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
