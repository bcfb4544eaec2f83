"""Patches from random places of images."""

import numpy as np
import pytest

from keras_sae.datasets import random_patches

IMAGES = np.arange(4 * 5 * 6 * 2).reshape(4, 5, 6, 2)


def test_every_patch_lies_in_an_image_and_every_place_is_drawn():
    patches = random_patches(IMAGES, 3, count=500)
    assert patches.dtype == IMAGES.dtype
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES, (3, 3), axis=(1, 2))
    places = {window.tobytes() for window in np.moveaxis(windows, 3, -1).reshape(-1, 3, 3, 2)}
    assert {patch.tobytes() for patch in patches} == places  # 4 images of 3 x 4 places


def test_a_seed_fixes_the_patches():
    first, again, other = (random_patches(IMAGES, 2, count=20, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_patches_larger_than_images_are_refused():
    with pytest.raises(ValueError, match="not smaller than a patch"):
        random_patches(IMAGES, 6, count=3)
