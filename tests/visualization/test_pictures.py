import numpy as np
import pytest

from keras_sae import visualization
from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder


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


def test_vectors_are_drawn_over_their_columns():
    model = DenseAutoencoder(30, 10)
    features = visualization.decoder_features(model, [0])
    axis = visualization.plot_features(model, 4).axes[0]
    np.testing.assert_allclose(axis.patches[0].get_data().values, features[0], rtol=1e-5)
    rows = np.random.default_rng(0).normal(size=(3, 30)).astype("float32")
    axes = visualization.plot_reconstructions(model, rows).axes
    np.testing.assert_array_equal(axes[1].patches[0].get_data().values, rows[1])
    np.testing.assert_allclose(axes[4].patches[0].get_data().values, np.asarray(model(rows))[1], rtol=1e-5)
    assert len({axis.get_ylim() for axis in axes}) == 1


def test_series_have_a_line_for_each_channel():
    series = np.random.default_rng(0).normal(size=(2, 64, 3)).astype("float32")
    axes = visualization.plot_reconstructions(DenseAutoencoder((64, 3), 5), series).axes
    _, *lines = axes[1].lines
    np.testing.assert_array_equal([line.get_ydata() for line in lines], series[1].T)
    convolution = ConvolutionalAutoencoder((64, 3), [4], kernel_size=5, strides=1)
    _, *lines = visualization.plot_features(convolution, 1).axes[0].lines
    assert [len(line.get_ydata()) for line in lines] == [5, 5, 5]  # cropped to the steps that a unit changes


def test_windows_are_those_of_the_strongest_responses():
    model = ConvolutionalAutoencoder((9, 9, 1), 2, kernel_size=1, strides=1)
    images = np.random.default_rng(0).uniform(size=(3, 9, 9, 1)).astype("float32")
    codes = np.zeros((3, 9, 9, 2), "float32")
    codes[1, 4, 6, 1], codes[2, 2, 3, 1], codes[0, 0, 0, 0] = 3, 2, 1
    for averaged, expected in ((1, images[1, 3:6, 5:8]), (2, (images[1, 3:6, 5:8] + images[2, 1:4, 2:5]) / 2)):
        figure = visualization.plot_top_windows(model, images, codes, averaged=averaged)
        np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected[..., 0], rtol=1e-6)  # unit 1 first
        assert figure.get_suptitle() == "What excites 2 of 2 units most"
    corner = np.asarray(visualization.plot_top_windows(model, images, codes, averaged=1).axes[1].images[0].get_array())
    np.testing.assert_array_equal(corner[0], 0)  # beyond the border
    np.testing.assert_allclose(corner[1:, 1:], images[0, :2, :2, 0])
    with pytest.raises(ValueError, match="where a code of maps is strongest"):
        visualization.plot_top_windows(model, images, codes[:, 0, 0])


def test_images_without_channels_are_images():
    axis = visualization.plot_features(DenseAutoencoder((10, 12), 5), 1).axes[0]
    assert axis.images[0].get_array().shape == (10, 12)


@pytest.mark.parametrize("shape", [(8, 8, 2), (8, 8, 4), (4, 4, 4, 1)])
def test_what_has_no_picture_is_refused(shape):
    model = DenseAutoencoder(shape, 5)
    for plot in (
        lambda: visualization.plot_features(model),
        lambda: visualization.plot_reconstructions(model, np.ones((2, *shape))),
    ):
        with pytest.raises(ValueError, match="1 or 3 channels"):
            plot()
