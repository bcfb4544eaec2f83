import keras
import numpy as np
import pytest

from keras_sae import visualization
from keras_sae.layers import KSparse, Patches
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder
from keras_sae.regularizers import ActivityKL


@pytest.fixture(scope="module")
def model():
    return DenseAutoencoder((6, 6, 1), 20, sparsity=KSparse(3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(12, 6, 6, 1)).astype("float32")


def test_encoder_weights_excite_their_unit_most(model):
    weights = visualization.encoder_weights(model)
    np.testing.assert_allclose(np.linalg.norm(weights.reshape(20, -1), axis=1), 1, rtol=1e-5)
    layer = next(layer for layer in model.encoder.layers if hasattr(layer, "kernel"))
    inputs = weights[4].ravel() @ np.asarray(layer.kernel)
    np.testing.assert_allclose(inputs[4], np.linalg.norm(np.asarray(layer.kernel)[:, 4]), rtol=1e-5)  # Cauchy and Schwarz
    np.testing.assert_allclose(visualization.encoder_weights(model, [4]), weights[4:5], rtol=1e-5)


def test_features_of_patches_are_those_of_the_patch_where_the_unit_is_active():
    # Of images of one size, of any size, and with a border of zeros: the same weights, the same features.
    features = []
    for size, border in ((8, []), (None, []), (None, [keras.layers.ZeroPadding2D(2, data_format="channels_last")])):
        model = ConvolutionalAutoencoder((size, size, 1), [5], kernel_size=1, strides=1, preprocessing=[*border, Patches(3)])
        kernel = next(layer for layer in model.decoder.layers if layer.weights).weights[0]
        kernel.assign(np.arange(np.prod(kernel.shape)).reshape(kernel.shape))
        features.append(visualization.decoder_features(model))
    assert features[0].shape == (5, 3, 3, 1)
    np.testing.assert_allclose(features[0], features[1], rtol=1e-5)
    np.testing.assert_allclose(features[0], features[2], rtol=1e-5)


def test_encoder_weights_of_a_convolution_are_its_kernels():
    convolution = ConvolutionalAutoencoder((8, 8, 1), [4], kernel_size=3, strides=1)
    assert visualization.encoder_weights(convolution).shape == (4, 3, 3, 1)
    assert sum(bool(axis.images) for axis in visualization.plot_weights(convolution).axes) == 4


def test_dead_units_are_not_among_the_most_active(model):
    codes = np.zeros((5, 20), "float32")
    codes[:, [3, 7, 9]] = [[1.0, 3.0, 2.0]]
    figure = visualization.plot_features(model, 10, codes)
    assert figure.get_suptitle() == "The 3 most active of 20 units; 17 are active in none of 5 samples"
    drawn = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    np.testing.assert_allclose(drawn, visualization.decoder_features(model, [7, 9, 3])[..., 0], rtol=1e-5)


def test_one_bright_pixel_leaves_the_rest_of_a_colour_feature_visible():
    model = DenseAutoencoder((8, 8, 3), 2)
    kernel = np.full((2, 8, 8, 3), 0.1, "float32")
    kernel[:, 0, 0, 0] = 5
    model.decoder.get_layer("decode").kernel.assign(kernel.reshape(2, -1))
    picture = visualization.plot_features(model).axes[0].images[0].get_array()
    np.testing.assert_allclose(picture, 1)  # full brightness in place of a little above grey


def test_columns_of_tables_are_named_strongest_first():
    model = DenseAutoencoder(8, 2)
    model.decoder.get_layer("decode").kernel.assign(np.array([[0, 1, -7, 2, 0, 3, 4, 5], [1] * 8]))
    columns = list("abcdefgh")
    axis = visualization.plot_features(model, columns=columns).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["c", "h", "g", "f", "d", "b"]
    np.testing.assert_allclose([bar.get_width() < 0 for bar in axis.patches], [True, *[False] * 5])
    with pytest.raises(ValueError, match="names the columns"):
        visualization.plot_features(model, columns=columns[:5])


def test_series_are_wider_than_high():
    figure = visualization.plot_features(DenseAutoencoder((64, 3), 9), 9)
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert box.width > box.height


def test_models_in_rows_share_their_inputs(model, images):
    other = DenseAutoencoder((6, 6, 1), 4)
    figure = visualization.plot_reconstructions({"k = 3": model, "plain": other}, images, 5)
    drawn = np.array([axis.images[0].get_array() for axis in figure.axes]).reshape(3, 5, 6, 6, 1)
    for row, expected in zip(drawn, (images[:5], model(images[:5]), other(images[:5])), strict=True):
        np.testing.assert_allclose(row, np.asarray(expected), atol=1e-6)
    assert [axis.get_title(loc="left") for axis in figure.axes[::5]] == ["input", "k = 3", "plain"]


def test_rates_fall_and_dead_units_are_counted():
    codes = np.array([[0.0, 2.0, 0.0, -1.0], [0.0, 4.0, 0.0, 1.0]])  # the last unit has rate 0 and is not dead
    axis = visualization.plot_rates(codes, target=0.5).axes[0]
    assert axis.get_title(loc="left") == "Rates of 4 units; 2 are dead"
    (rates,) = (each for each in axis.collections)
    assert rates.get_paths()[0].vertices[:, 1].max() == 3
    (span,) = axis.patches
    assert span.get_x() == 1.5
    assert span.get_width() == 2


def test_activity_counts_every_position_and_every_active_entry():
    codes = np.where(np.arange(240).reshape(2, 3, 4, 10) % 3 == 0, 0.5, 0.05)
    left, right = visualization.plot_activity(codes, threshold=0.1).axes
    assert sum(bar.get_height() for bar in left.patches) == 24
    assert sum(bar.get_height() for bar in right.patches) == 80
    assert left.get_title(loc="left") == "3.3 of 10 units active"


def test_penalties_and_their_derivatives_are_those_of_the_formulas():
    figure = visualization.plot_penalties(
        {"KL": ActivityKL(0.2), "L1": keras.regularizers.L1(1.0), "L2": keras.regularizers.L2(1.0)}
    )
    values, slopes = ({line.get_label(): line.get_data() for line in axis.lines} for axis in figure.axes)
    (kl, l1, l2), (kl_slope, l1_slope, l2_slope) = ((list(each.values()))[:3] for each in (values, slopes))
    assert abs(kl[0][np.nanargmin(kl[1])] - 0.2) < 0.01
    assert np.isnan(kl[1][kl[0] < -0.01]).all()
    rate = kl[0][140]
    np.testing.assert_allclose(kl_slope[1][140], -0.2 / rate + 0.8 / (1 - rate), rtol=0.01)
    np.testing.assert_allclose(l1[1], np.abs(l1[0]), atol=1e-6)
    np.testing.assert_allclose(l1_slope[1][90:], 1, atol=1e-3)
    np.testing.assert_allclose(l2_slope[1][1:-1], 2 * l2[0][1:-1], atol=1e-3)
    assert figure.axes[0].get_ylim()[1] == 2  # the divergence goes far beyond
    alone = visualization.plot_penalties({"L1": keras.regularizers.L1(1.0)})
    np.testing.assert_allclose(alone.axes[0].get_ylim()[1], 1.1, rtol=1e-6)


def test_an_embedding_is_the_plane_of_most_variance():
    random = np.random.default_rng(0)
    codes = random.normal(size=(40, 2)) @ random.normal(size=(2, 9)) + 5  # a plane
    labels = np.arange(40) % 3
    figure = visualization.plot_embedding(codes, labels, ["a", "b", "c"])
    (axis,) = figure.axes
    assert axis.get_title(loc="left").endswith("100% of the variance")
    assert [text.get_text() for text in axis.texts] == ["a", "b", "c"]
    points = np.concatenate([each.get_offsets() for each in axis.collections])
    order = np.argsort(labels, kind="stable")
    between = np.linalg.norm(codes[order][:, None] - codes[order], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points, axis=-1), between, atol=1e-6)
    with pytest.raises(ValueError, match="one label for each"):
        visualization.plot_embedding(codes, labels[:5])


def test_tradeoffs_are_drawn_in_percent():
    rows = [
        {"name": "a", "l0": 25, "units": 1000, "reconstruction_error": 0.02},
        {"name": "b", "l0": 0, "units": 9, "reconstruction_error": 1},
    ]
    axis = visualization.plot_tradeoff(rows[:1]).axes[0]
    assert [line.get_xydata().tolist() for line in axis.lines] == [[[2.5, 0.02]]]
    assert axis.texts[0].get_text() == "a"
    assert visualization.plot_tradeoff(rows).axes[0].get_xscale() == "linear"  # no logarithm of 0


def test_histories_come_from_fit_and_from_files(tmp_path):
    logs = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, 2.0], "l0": [9.0, 5.0, 4.0]}
    (tmp_path / "history.csv").write_text("epoch,loss,val_loss,l0\n0,3.0,3.5,9.0\n1,2.0,2.5,5.0\n2,1.0,2.0,4.0\n")
    for history in (logs, tmp_path / "history.csv"):
        axes = visualization.plot_history(history).axes
        assert [axis.get_title(loc="left") for axis in axes] == ["loss", "l0"]
        assert [line.get_ydata().tolist() for line in axes[0].lines] == [logs["loss"], logs["val_loss"]]
        assert axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="no logs"):
        visualization.plot_history({})


def test_silent_units_of_a_network_are_faded(model, images):
    code = np.asarray(model.encoder(images[:1]))[0]
    axis = visualization.plot_network(model, images[0], units=8).axes[0]
    circles = next(each for each in axis.collections if each.get_label() == "units")
    opacity = np.array(circles.get_alpha())
    assert len(opacity) == 8
    assert (opacity > 0.2).sum() == np.count_nonzero(code) == 3
    assert opacity.max() == 1
    many = visualization.plot_network(DenseAutoencoder((6, 6, 1), 20, activation="sigmoid"), images[0], units=8).axes[0]
    assert len(next(each for each in many.collections if each.get_label() == "units").get_offsets()) == 8


def test_a_roll_states_the_variance_that_is_reconstructed():
    random = np.random.default_rng(0)
    data = random.normal(size=(20, 3))
    clouds = {"data": data, "pca": np.tile(data.mean(axis=0), (20, 1)), "autoencoder": data, "position": data[:, 0]}
    titles = [axis.get_title() for axis in visualization.plot_swiss_roll(clouds).axes]
    assert titles == ["data", "PCA: 0.0% of variance", "autoencoder: 100.0% of variance"]
