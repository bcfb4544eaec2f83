import numpy as np

from keras_sae._checks import check_integer


def random_patches(images, size, count, seed=0):
    """Cuts patches from random places of random images, to train a dictionary of patches.

    All images and all places are equally likely. Each patch lies inside of its image.

    Args:
        images: Array `(n, *sizes, channels)` with one, two or three spatial axes.
        size: Integer, at least 1. Height and width of a patch in pixels.
        count: Integer, at least 1. Number of patches.
        seed: Integer that fixes images and places.

    Returns:
        Array of the dtype of `images`, of shape `(count, size, ..., size, channels)`.

    Example:

    >>> random_patches(np.zeros((10, 32, 32, 3), "uint8"), 6, count=1000).shape
    (1000, 6, 6, 3)
    """
    size, count = (
        check_integer("size", size, "is the height and width of a patch"),
        check_integer("count", count, "counts patches"),
    )
    sizes = images.shape[1:-1]
    if not 1 <= len(sizes) <= 3 or min(sizes) < size or len(images) == 0:
        raise ValueError(
            "Patches are cut from images `(n, *sizes, channels)` with one, two or three spatial axes that are not smaller than "
            f"a patch. Received: images of shape {tuple(images.shape)}, size={size}."
        )
    random = np.random.default_rng(seed)
    which = random.integers(len(images), size=count)
    corners = np.stack([random.integers(each - size + 1, size=count) for each in sizes], axis=1)
    patches = np.empty((count, *[size] * len(sizes), images.shape[-1]), images.dtype)
    for index in np.argsort(which, kind="stable"):  # images on disk are read in their order
        patches[index] = images[which[index]][tuple(slice(corner, corner + size) for corner in corners[index])]
    return patches
