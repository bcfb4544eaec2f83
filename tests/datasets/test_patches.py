import importlib.util
import sys

import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets import patches, whiten, zca

pytest.importorskip("tensorflow", reason="the photographs are decoded by TensorFlow")


def amplitude(picture):
    """Mean amplitude of a picture's spectrum in rings of frequency, and the rings' frequencies in cycles per pixel."""
    frequency = np.hypot(np.fft.fftfreq(picture.shape[0])[:, None], np.fft.fftfreq(picture.shape[1]))
    rings = np.arange(0.05, 0.5, 0.05)
    spectrum = np.abs(np.fft.fft2(picture))
    return np.array([spectrum[np.abs(frequency - ring) < 0.02].mean() for ring in rings]), rings


def test_whitening_flattens_a_spectrum_that_falls_as_one_over_f():
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=(256, 192)))
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(192))
    frequency[0, 0] = np.inf
    spectrum, rings = amplitude(whiten(np.fft.ifft2(noise / frequency).real))
    np.testing.assert_allclose(spectrum / spectrum[0], np.exp(-((rings / 0.4) ** 4)), rtol=0.1)


def test_whitening_scales_each_picture_to_the_variance_around_zero():
    pictures = np.random.default_rng(0).normal(size=(2, 32, 40)).cumsum(axis=1) * [[[1.0]], [[50.0]]] + 7
    white = whiten(pictures, variance=0.3)
    assert white.dtype == np.float32
    np.testing.assert_allclose(white.var(axis=(1, 2)), 0.3, rtol=1e-5)
    np.testing.assert_allclose(white.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_array_equal(white[1], whiten(pictures[1], variance=0.3))


@pytest.mark.parametrize(
    ("pictures", "variance", "match"),
    [
        (np.zeros((8, 8)) + 3, 0.1, "constant"),
        (np.zeros(8), 0.1, "shape"),
        (np.full((8, 8), np.nan), 0.1, "finite"),
        (np.eye(8), 0, "variance"),
    ],
)
def test_pictures_that_cannot_be_whitened_are_refused(pictures, variance, match):
    with pytest.raises(ValueError, match=match):
        whiten(pictures, variance)


def test_zca_makes_the_covariance_white_but_for_epsilon_and_turns_nothing():
    data = np.random.default_rng(0).normal(size=(500, 3)) @ [[2.0, 0.5, 0], [0, 1, 0.3], [0, 0, 0.1]] + 5
    mean, matrix = zca(data, epsilon=1e-6)
    np.testing.assert_allclose(np.cov((data - mean) @ matrix, rowvar=False, bias=True), np.eye(3), atol=2e-3)
    np.testing.assert_array_equal(matrix, matrix.T)
    variances = np.linalg.eigvalsh(np.cov(data, rowvar=False, bias=True))
    np.testing.assert_allclose(np.linalg.eigvalsh(zca(data, epsilon=0.1)[1]), 1 / np.sqrt(variances[::-1] + 0.1), rtol=1e-4)


@pytest.mark.parametrize(
    ("data", "epsilon", "match"), [(np.ones((1, 4)), 0.1, "at least two"), (np.ones((5, 4)), 0, "epsilon")]
)
def test_zca_refuses_covariances_that_have_no_inverse(data, epsilon, match):
    with pytest.raises(ValueError, match=match):
        zca(data, epsilon)


def test_patches_are_fixed_by_their_seed_and_each_from_another_place():
    drawn = patches(500, seed=3)
    assert drawn.shape == (500, 8, 8, 1)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(patches(500, seed=3), drawn)
    assert (patches(500, seed=4) != drawn).any()
    assert len(np.unique(drawn.reshape(500, -1), axis=0)) == 500
    assert drawn.var(axis=(1, 2, 3)).min() >= 0.02 - 1e-6  # a fifth of the variance of the whitened photographs
    np.testing.assert_allclose(drawn.mean(axis=(1, 2, 3)), 0, atol=1e-6)


def test_grey_and_colour_patches_are_of_the_same_places():
    colour, grey = patches(50, whitened=False, color=True), patches(50, whitened=False)
    np.testing.assert_allclose(colour @ np.float32([0.299, 0.587, 0.114]), grey[..., 0], atol=1e-6)
    assert 0 <= colour.min() < colour.max() <= 1


def test_training_and_test_patches_share_no_pixel(monkeypatch):
    # A photograph of noise whose blue holds the row of each pixel.
    photograph = np.random.default_rng(0).uniform(size=(427, 640, 3)).astype("float32")
    photograph[..., 2] = np.arange(427)[:, None] / 1000
    monkeypatch.setattr(sys.modules["keras_sae.datasets._patches"], "_photographs", lambda: [photograph])
    train, test = (patches(2000, split=split, whitened=False, color=True)[..., 2] for split in ("train", "test"))
    assert 1000 * (test.min() - train.max()) > 8


def test_colour_patches_of_both_splits_are_whitened_by_the_training_patches():
    raw = [patches(40, color=True, whitened=False, split=split).reshape(40, -1) for split in ("train", "test")]
    white = [patches(40, color=True, split=split).reshape(40, -1) for split in ("train", "test")]
    mean, matrix = zca(patches(20_000, color=True, whitened=False))
    for before, after in zip(raw, white, strict=True):
        np.testing.assert_allclose(after, (before - mean) @ matrix, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"count": 1.5}, {"size": 1}, {"size": 400}, {"split": "valid"}, {"count": 10**7}]
)
def test_bad_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=f"Received: {next(iter(options))}="):
        patches(**{"count": 10, **options})


def test_without_scikit_learn_the_message_has_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "keras_sae\[evaluation\]"'):
        patches(10)


@pytest.mark.parametrize(("name", "channels"), [("patches", 1), ("color_patches", 3)])
def test_patches_load_by_name_as_other_data_sets_do(name, channels):
    images, labels = datasets.load_arrays(name, "train[:10]+test[-5:]")
    assert images.shape == (15, 8, 8, channels)
    assert images.dtype == np.float32
    assert not labels.any()
    loaded = list(datasets.load(name, "test[-5:]").as_numpy_iterator())
    np.testing.assert_array_equal(np.stack([image for image, _ in loaded]), images[10:])
    (batch,) = next(iter(datasets.batches(images, 15, seed=0)))
    batch = np.asarray(batch)
    np.testing.assert_array_equal(np.sort(batch, axis=None), np.sort(images, axis=None))


def test_photographs_are_colour_images_of_32_pixels():
    images, _ = datasets.load_arrays("photographs", "test[:3]")
    assert images.shape == (3, 32, 32, 3)
    assert 0 <= images.min() < images.max() <= 1


def test_unknown_splits_and_names_near_patches_are_named():
    with pytest.raises(ValueError, match=r"'train', 'test'"):
        datasets.load("patches", "valid")
    with pytest.raises(ValueError, match="'color_patches'"):
        datasets.load("colour_patches", "train")
