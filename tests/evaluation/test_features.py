import numpy as np
import pytest

from keras_sae.evaluation import coherence, features
from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder
from keras_sae.visualization import decoder_features


def test_coherence_of_a_known_matrix():
    assert coherence(np.eye(4)) == 0
    assert coherence(np.array([[1.0, 0], [1, 1], [0, 0]])) == pytest.approx(np.sqrt(0.5))
    assert coherence(np.array([[1.0, 2, 2], [-2, -4, -4], [2, -2, 1]])) == pytest.approx(1)
    assert coherence(np.ones((1, 3))) == 0


def test_features_are_those_of_the_decoder(sample):
    images, labels = sample
    model = DenseAutoencoder((28, 28, 1), 20, sparsity=KSparse(4))
    result = features(model, images, labels, overlap=True)
    kernel = np.asarray(model.decoder.get_layer("decode").kernel)
    kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)
    assert result["coherence"] == pytest.approx(np.abs(kernel @ kernel.T - np.eye(20)).max(), rel=1e-4)
    assert result["l0"] == 4
    assert 0 < result["overlap"]["between"] < 1
    assert "gabor" not in result
    assert features(model, images, samples=9) == features(model, images[:9])
    with pytest.raises(ValueError, match="no labels"):
        features(model, images, overlap=True)


def test_gabor_shares_are_compared_with_noise():
    model = DenseAutoencoder((6, 6, 1), 5)
    shares = features(model, np.random.default_rng(0).normal(size=(20, 6, 6, 1)).astype("float32"), gabor=True)["gabor"]
    assert set(shares) == {"well_fitted", "noise"}
    assert all(0 <= share <= 1 for share in shares.values())


def test_a_unit_of_maps_draws_its_kernel_in_the_middle():
    model = ConvolutionalAutoencoder((9, 9, 1), 3, kernel_size=3, strides=1, decoder_kernel_size=3)
    drawn = decoder_features(model)
    kernel = np.asarray(model.decoder.trainable_variables[0])[:, :, 0]  # (3, 3, units)
    kernel = np.moveaxis(kernel, -1, 0)
    expected = np.zeros((3, 9, 9), "float32")
    expected[:, 3:6, 3:6] = kernel / np.linalg.norm(kernel.reshape(3, -1), axis=1).reshape(3, 1, 1)
    np.testing.assert_allclose(drawn[..., 0], expected, atol=1e-6)
