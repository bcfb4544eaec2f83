"""Patches, contrast normalisation, whitening and standardisation, against NumPy and numbers by hand."""

import keras
import numpy as np
import pytest

from keras_sae.layers import (
    ContrastNormalization,
    Deskew,
    MomentNormalization,
    OrientedGradients,
    PartialWhitening,
    Patches,
    SquareRoot,
    Standardize,
    SubtractMean,
    ZCAWhitening,
)

RANDOM = np.random.default_rng(0)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(("size", "strides"), [(3, 1), (2, 2), (4, 3), (1, 1)])
def test_patches_are_flattened_windows(size, strides):
    images = RANDOM.uniform(size=(2, 7, 9, 3)).astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))[:, ::strides, ::strides]
    expected = np.moveaxis(windows, 3, -1).reshape(*windows.shape[:3], -1)
    layer = Patches(size, strides)
    np.testing.assert_array_equal(as_numpy(layer(images)), expected)
    assert layer.compute_output_shape(images.shape) == expected.shape
    assert layer.compute_output_shape((None, None, 9, 3))[1:] == (None, *expected.shape[2:])


def test_patches_of_series_and_volumes():
    series = np.arange(4.0).reshape(1, 4, 1)
    assert as_numpy(Patches(2)(series)).tolist() == [[[0, 1], [1, 2], [2, 3]]]
    assert Patches(2)(np.zeros((1, 3, 3, 3, 2), "float32")).shape == (1, 2, 2, 2, 16)


def test_patches_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match="not smaller than a patch"):
        Patches(6).build((None, 5, 8, 1))


def test_contrast_normalisation_of_pixels_from_0_to_255_by_the_published_formula():
    pixels = RANDOM.integers(0, 256, size=(5, 2, 12)).astype("float64")
    expected = (pixels - pixels.mean(-1, keepdims=True)) / np.sqrt(pixels.var(-1, keepdims=True) + 10)
    np.testing.assert_allclose(as_numpy(ContrastNormalization()((pixels / 255).astype("float32"))), expected, atol=1e-5)


def test_a_sheared_stroke_stands_upright():
    height, width, slope = 11, 21, 0.5
    images = np.zeros((2, height, width, 2), "float32")
    for row in range(height):
        place = 10 + slope * (row - 5)
        below = int(place)
        images[0, row, below : below + 2, 0] = below + 1 - place, place - below
    upright = as_numpy(Deskew()(images))
    np.testing.assert_allclose(upright[0, :, 10, 0], np.where(np.arange(height) % 2, 1, 0.5), atol=1e-5)
    np.testing.assert_allclose(upright[0, :, :, 0].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(upright[1], 0)  # an image of zeros has no slope


def test_rows_and_columns_of_a_deskewed_image_are_uncorrelated():
    image = np.zeros((1, 28, 28, 1), "float32")
    image[0, 8:20, 8:20, 0] = RANDOM.uniform(size=(12, 12))
    rows, columns = np.mgrid[:28, :28]

    def slope(pixels):
        y, x = rows - (pixels * rows).sum() / pixels.sum(), columns - (pixels * columns).sum() / pixels.sum()
        return (pixels * x * y).sum() / (pixels * y * y).sum()

    before, after = slope(image[0, :, :, 0]), slope(as_numpy(Deskew()(image))[0, :, :, 0])
    assert abs(before) > 1e-3
    assert abs(after) < 1e-5
    limited = as_numpy(Deskew(limit=abs(before) / 2)(image))
    assert slope(limited[0, :, :, 0]) == pytest.approx(before / 2, rel=1e-3)


def blob(y, x, sy, sx, slope, size=56):
    """An ellipse of ink that is dense in the middle, sheared by `slope`."""
    rows, columns = np.mgrid[:size, :size] - np.reshape([y, x], (2, 1, 1))
    return np.exp(-(rows**2) / (2 * sy**2) - (columns - slope * rows) ** 2 / (2 * sx**2)).astype("float32")[None, :, :, None]


def test_moments_are_normalised():
    images = np.concatenate([blob(30, 24, 6, 3, 0.4), blob(25, 30, 4, 5, -0.2), np.zeros((1, 56, 56, 1), "float32")])
    normalised = as_numpy(MomentNormalization(spread=(5, 4), share=1.0, zoom=2.0)(images))
    expected = blob(27.5, 27.5, 5, 4, 0)[0]  # centred, upright, of that height and width
    np.testing.assert_allclose(normalised[:2], [expected, expected], atol=0.03)
    np.testing.assert_array_equal(normalised[2], 0)
    # A height of 7.2 against 5: half of the difference is a zoom by sqrt(7.2 / 5) = 1.2, to 6. A width of 2 grows by 1.35.
    half = as_numpy(MomentNormalization(spread=(5, 4))(blob(28, 28, 7.2, 2, 0)))
    np.testing.assert_allclose(half[0], blob(27.5, 27.5, 6, 2.7, 0)[0], atol=0.03)
    kept = as_numpy(MomentNormalization(share=0)(images[:1]))
    np.testing.assert_allclose(kept[0], blob(27.5, 27.5, 6, 3, 0)[0], atol=0.03)


@pytest.mark.parametrize("spread", [5.0, (5, 4, 3), (5, 0)])
def test_a_spread_is_a_pair(spread):
    with pytest.raises(ValueError, match="`spread`"):
        MomentNormalization(spread=spread)


def test_a_gradient_goes_to_the_directions_near_it():
    rows, columns = np.mgrid[:6, :7].astype("float32")
    angle = 0.3
    ramp = (columns * np.cos(angle) + rows * np.sin(angle))[None, :, :, None]
    images = np.concatenate([ramp, 2 * ramp], axis=-1)
    expected = np.maximum(0, np.cos(angle - 2 * np.pi * np.arange(8) / 8)) ** 2
    maps = as_numpy(OrientedGradients(8)(images))
    np.testing.assert_allclose(maps[0, 1:-1, 1:-1], np.broadcast_to(np.r_[expected, 2 * expected], (4, 5, 16)), atol=1e-5)
    np.testing.assert_array_equal(as_numpy(OrientedGradients(8)(np.ones((1, 4, 4, 1), "float32"))), 0)


def test_images_without_channels_are_refused():
    for layer in (Deskew(), MomentNormalization(), OrientedGradients()):
        with pytest.raises(ValueError, match="Give grayscale images a channel"):
            layer.build((None, 28, 28))


def test_whitened_data_is_white():
    data = RANDOM.normal(size=(500, 4)) @ RANDOM.normal(size=(4, 4)) + 3
    layer = ZCAWhitening(epsilon=1e-9)
    layer.build((None, 4))
    assert not layer.is_adapted
    halves = [layer.statistics(half) for half in np.split(data, 2)]
    layer.learn([one + other for one, other in zip(*halves, strict=True)])
    assert layer.is_adapted
    white = as_numpy(layer(data.astype("float32")))
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=1e-4)
    np.testing.assert_allclose(as_numpy(layer.matrix), as_numpy(layer.matrix).T, atol=1e-6)  # ZCA, not PCA


def test_partial_whitening_shrinks_the_largest_variances_to_the_next():
    mixing = np.linalg.qr(RANDOM.normal(size=(5, 5)))[0]
    data = RANDOM.normal(size=(500, 5)) * [9, 4, 1, 0.5, 0.1] @ mixing + 2
    layer = PartialWhitening(rank=2)
    layer.build((None, 5))
    assert not layer.is_adapted
    np.testing.assert_array_equal(as_numpy(layer(data)), data.astype("float32"))
    layer.learn(layer.statistics(data))
    assert layer.is_adapted
    before, after = (np.linalg.eigh(np.cov(each.T, bias=True)) for each in (data, as_numpy(layer(data))))
    np.testing.assert_allclose(after[0], [*before[0][:2], *[before[0][2]] * 3], rtol=1e-3)
    np.testing.assert_allclose(np.abs(after[1].T @ before[1])[:2, :2], np.eye(2), atol=1e-2)  # directions stay
    np.testing.assert_allclose(as_numpy(layer(data.mean(axis=0))), np.zeros(5), atol=1e-4)
    with pytest.raises(ValueError, match="`rank`"):
        PartialWhitening(5).build((None, 5))


def test_weights_count_samples_and_what_is_not_finite_counts_nothing():
    data = np.array([[1.0, 2.0], [3.0, 0.0], [np.nan, 9.0]])
    for layer in (ZCAWhitening(), PartialWhitening(1), Standardize(), SubtractMean()):
        layer.build((None, 2))
        weighted = layer.statistics(data, np.array([2.0, 1.0, 1.0]))
        repeated = layer.statistics(data[[0, 0, 1]])
        for one, other in zip(weighted, repeated, strict=True):
            np.testing.assert_allclose(one, other)


def test_standardize_by_hand():
    # Entries 0, 2 and 1, 5: means 1 and 3, deviations 1 and 2; of all entries mean 2, variance 3.5.
    data = np.array([[[0.0, 1.0], [2.0, 5.0]]])
    for options, expected in (
        ({"per": "channel"}, [[-1, -1], [1, 1]]),
        ({"per": "channel", "center": False}, [[0, 0.5], [2, 2.5]]),
        ({"per": "all", "center": False}, data[0] / np.sqrt(3.5)),
        ({"per": "entry"}, [[0, 0], [0, 0]]),  # one sample: nothing varies, and nothing is divided by 0
    ):
        layer = Standardize(**options)
        layer.build(data.shape)
        layer.learn(layer.statistics(data))
        np.testing.assert_allclose(as_numpy(layer(data))[0], expected, atol=1e-6)


def test_square_roots_steady_the_noise_of_counts():
    # Anscombe: with 3 / 8 added, the deviation of the root of a Poisson count is about 1/2, whatever the mean.
    means = np.array([4.0, 20.0, 200.0])
    roots = as_numpy(SquareRoot(offset=3 / 8)(RANDOM.poisson(means, (20000, 3)).astype("float32")))
    np.testing.assert_allclose(roots.std(axis=0), 0.5, rtol=0.03)
    # The slope at zero is 1 / (2 * sqrt(offset)).
    small = np.array([-1e-7, 0, 1e-7], "float32")
    np.testing.assert_allclose(as_numpy(SquareRoot(offset=1e-4)(small)), [-5e-6, 0, 5e-6], rtol=1e-3)


@pytest.mark.parametrize("make", [ContrastNormalization, SquareRoot, ZCAWhitening, Standardize])
def test_half_precision_rounds_the_result_alone(make):
    data = RANDOM.uniform(size=(20, 6)).astype("float32")
    whole, half = make(), make(dtype="mixed_float16")
    for layer in (whole, half):
        layer.build((None, 6))
        if hasattr(layer, "learn"):
            layer.learn(layer.statistics(data))
    result = half(data)
    assert keras.backend.standardize_dtype(result.dtype) == "float16"
    np.testing.assert_array_equal(as_numpy(result), as_numpy(whole(data)).astype("float16"))


def test_bad_arguments_are_refused():
    for make, match in (
        (lambda: Patches(0), "`size`"),
        (lambda: Patches(2, strides=0), "`strides`"),
        (lambda: ContrastNormalization(0), "`offset`"),
        (lambda: SquareRoot(0), "`offset`"),
        (lambda: ZCAWhitening(0), "`epsilon`"),
        (lambda: Standardize(per="unit"), "`per`"),
        (lambda: ZCAWhitening().build((None, None)), "last size"),
        (lambda: Standardize().build((None, None, 3)), "every size"),
    ):
        with pytest.raises(ValueError, match=match):
            make()
