import numpy as np
import pytest

from keras_sae import visualization
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder


def test_features_of_a_linear_decoder_are_its_rows_at_norm_one():
    model = DenseAutoencoder((4, 4, 1), 5)
    kernel = np.asarray(model.decoder.get_layer("decode").kernel)  # (5, 16)
    expected = kernel / np.linalg.norm(kernel, axis=1, keepdims=True)
    np.testing.assert_allclose(visualization.decoder_features(model).reshape(5, 16), expected, atol=1e-5)
    np.testing.assert_allclose(visualization.decoder_features(model, [3]).reshape(1, 16), expected[3:4], atol=1e-5)


def test_a_unit_that_draws_nothing_is_blank():
    model = DenseAutoencoder((4, 4, 1), 5)
    model.decoder.get_layer("decode").kernel.assign(np.zeros((5, 16)))
    assert (visualization.decoder_features(model) == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_drawn(channels, tmp_path):
    model = DenseAutoencoder((6, 6, channels), 10, sparsity=KSparse(3))
    images = np.random.default_rng(0).uniform(size=(4, 6, 6, channels)).astype("float32")
    codes = np.asarray(model.encoder(images))
    for name, figure in (
        ("features", visualization.plot_features(model, count=7, codes=codes)),
        ("reconstructions", visualization.plot_reconstructions(model, images)),
    ):
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    assert sum(bool(axis.images) for axis in visualization.plot_features(model, count=7).axes) == 7
