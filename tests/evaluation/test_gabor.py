import numpy as np
import pytest

from keras_sae.evaluation import gabor, gabor_fit

EDGES = [
    {"x": 3.2, "y": 4.1, "orientation": 0.4, "wavelength": 5.0, "phase": 1.4, "width": 1.5, "length": 2.0, "amplitude": 0.7},
    {"x": 5.0, "y": 2.5, "orientation": 2.8, "wavelength": 3.0, "phase": -2.0, "width": 1.2, "length": 1.0, "amplitude": 3.0},
    {"x": 2.0, "y": 3.0, "orientation": 1.6, "wavelength": 4.0, "phase": 0.1, "width": 1.4, "length": 2.5, "amplitude": 1e-6},
]


@pytest.mark.parametrize("true", EDGES)
def test_a_gabor_function_is_fitted_exactly_and_its_arguments_found(true):
    fit = gabor_fit(gabor((8, 8), **true)[None])
    assert fit["explained"] > 0.999
    assert fit["well_fitted"]
    np.testing.assert_allclose([fit[name][0] for name in true], list(true.values()), rtol=1e-2, atol=1e-2)


def test_what_is_fitted_is_drawn_by_the_arguments_found():
    feature = np.random.default_rng(3).normal(size=(7, 9))
    fit = gabor_fit(feature[None])
    drawn = gabor((7, 9), **{name: fit[name][0] for name in EDGES[0]})
    explained = 1 - ((feature - drawn) ** 2).sum() / ((feature - feature.mean()) ** 2).sum()
    np.testing.assert_allclose(fit["explained"], explained, atol=1e-6)


def test_scale_and_an_axis_of_one_channel_change_nothing():
    features = np.random.default_rng(0).normal(size=(2, 8, 8))
    once, scaled = gabor_fit(features), gabor_fit(-1e3 * features[..., None])
    np.testing.assert_allclose(once["explained"], scaled["explained"], rtol=1e-3)


def test_noise_is_not_well_fitted():
    fit = gabor_fit(np.random.default_rng(0).normal(size=(15, 8, 8)))
    assert fit["explained"].max() < 0.6
    assert not fit["well_fitted"].any()


def test_blobs_and_single_pixels_are_fitted_but_are_no_edges():
    rows, columns = np.indices((8, 8))
    blob = np.exp(-((rows - 3) ** 2 + (columns - 4) ** 2) / 4)
    long_blob = np.exp(-((rows - 3) ** 2) / 2 - (columns - 4) ** 2 / 12)
    pixel = np.eye(64)[27].reshape(8, 8)
    fit = gabor_fit([blob, long_blob, pixel, -blob])
    assert (fit["explained"] > 0.95).all()
    assert not fit["bandpass"].any()
    assert not fit["well_fitted"].any()


def test_an_edge_a_bar_with_flanks_and_a_grating_are_bandpass():
    edge = gabor((8, 8), 3.5, 3.5, 0.5, wavelength=12, phase=np.pi / 2, width=1.5, length=2.5)
    bar = gabor((8, 8), 3.5, 3.5, 0.5, wavelength=4, phase=0, width=1.5, length=2.5)
    grating = np.cos(2 * np.pi * np.indices((8, 8))[1] / 4)
    fit = gabor_fit([edge, bar, grating])
    assert fit["well_fitted"].all()
    assert fit["wavelength"][2] == pytest.approx(4, rel=0.02)


def test_a_plaid_is_no_gabor_function():
    rows, columns = np.indices((8, 8))
    assert gabor_fit([np.cos(np.pi * rows / 2) * np.cos(np.pi * columns / 2 + 1)])["explained"] < 0.8


@pytest.mark.parametrize("level", [0.0, 2.5])
def test_a_constant_feature_has_nothing_explained(level):
    fit = gabor_fit(np.full((1, 8, 8), level))
    assert fit["explained"] == 0
    assert not fit["well_fitted"]
    assert np.isnan(fit["wavelength"])


def test_the_threshold_decides():
    noisy = gabor((8, 8), **EDGES[0]) + np.random.default_rng(0).normal(0, 0.1, (8, 8))
    explained = gabor_fit([noisy])["explained"][0]
    assert gabor_fit([noisy], threshold=explained - 0.01)["well_fitted"]
    assert not gabor_fit([noisy], threshold=explained + 0.01)["well_fitted"]


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8, 3), (0, 8, 8), (2, 3, 8)])
def test_features_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="Received: features of shape"):
        gabor_fit(np.zeros(shape))


def test_nan_and_thresholds_out_of_range_are_refused():
    features = np.ones((2, 8, 8))
    features[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="Received: 1 entries"):
        gabor_fit(features)
    with pytest.raises(ValueError, match="threshold"):
        gabor_fit(np.eye(8)[None], threshold=1.5)
