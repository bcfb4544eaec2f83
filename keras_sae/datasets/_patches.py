"""Patches of two photographs that come with scikit-learn: natural images without a download.

`china.jpg` and `flower.jpg` are under the Creative Commons licence CC BY 2.0. scikit-learn's
`datasets/images/README.txt` attributes both to danielbuechele and names these sources:
https://www.flickr.com/photos/danielbuechele/6061409035 and https://www.flickr.com/photos/vultilion/6056698931.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from keras_sae._checks import check_integer, check_number
from keras_sae.datasets._splits import examples_of

LICENCE = (
    "CC BY 2.0: china.jpg and flower.jpg of scikit-learn, by danielbuechele "
    "(flickr.com/photos/danielbuechele/6061409035) and flickr.com/photos/vultilion/6056698931"
)
SIZE = 8
COUNTS = {"train": 20_000, "test": 5_000}
DATA_SETS = {
    "patches": {"color": False},
    "color_patches": {"color": True},
    "photographs": {"color": True, "size": 32, "whitened": False},
}

# Training patches come from the upper part of each photograph, test patches from the rest.
_TRAIN_SHARE = 0.75
# Pixels left out along every edge of a part: whitening treats a picture as periodic and distorts its edges.
_MARGIN = 4
# Sky and blurred leaves fill more than half of the photographs and have no edges to learn.
_LEAST_CONTRAST = 0.2


def whiten(pictures, variance=0.1):
    """Flattens the spectrum of natural pictures, whose amplitude falls as 1/f, and removes the noise at high frequencies.

    This is the filter of Olshausen and Field. It multiplies each frequency by

        amplitude(f) = f * exp(-(f / 0.4)**4)        f in cycles per pixel

    Then each picture has mean 0 and is scaled to `variance`.

    Args:
        pictures: Array `(..., height, width)` of one or more grey pictures, at least 2 x 2 pixels and not constant.
        variance: Float above 0, the variance of each filtered picture.

    Returns:
        float32 array of the same shape.

    Example:

    >>> picture = np.random.default_rng(0).normal(size=(64, 64)).cumsum(axis=0).cumsum(axis=1)
    >>> print(round(float(whiten(picture).var()), 4))
    0.1

    Reference:
        Olshausen and Field, "Sparse coding with an overcomplete basis set: a strategy employed by V1?", 1997.
    """
    pictures = np.asarray(pictures, "float64")
    if pictures.ndim < 2 or min(pictures.shape[-2:]) < 2 or not np.isfinite(pictures).all():
        raise ValueError(
            "`pictures` are filtered in two dimensions. They must be finite and have the shape (..., height, width), with at "
            f"least 2 pixels each way. Received: pictures of shape {pictures.shape}, finite: {np.isfinite(pictures).all()}. "
            "Filter the channels of a colour picture one by one, as (channels, height, width)."
        )
    check_number("variance", variance, "is the variance of a filtered picture", above=0)
    height, width = pictures.shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    filtered = np.fft.ifft2(np.fft.fft2(pictures) * frequency * np.exp(-((frequency / 0.4) ** 4))).real
    deviation = filtered.std(axis=(-2, -1), keepdims=True)
    if (deviation <= 1e-9 * np.abs(pictures).max()).any():
        raise ValueError("A picture is constant and cannot be scaled to a variance. Remove it from `pictures`.")
    return (filtered * np.sqrt(variance) / deviation).astype("float32")


def zca(patches, epsilon=0.1):
    """Computes the ZCA whitening of patches: `(patches - mean) @ matrix` is white and as close to the patches as possible.

        matrix = U diag(1 / sqrt(s + epsilon)) U^T        where the covariance of the patches is U diag(s) U^T

    Args:
        patches: Array `(n, ...)` of at least two patches, flattened to `(n, features)`.
        epsilon: Float above 0. Directions with less variance than this stay small. 0.1 suits patches in [0, 1].

    Returns:
        `(mean, matrix)`: float32 arrays of shape `(features,)` and `(features, features)`.

    Example:

    >>> mean, matrix = zca([[0.0], [2.0]], epsilon=3.0)                # mean 1, variance 1
    >>> print(mean, matrix)
    [1.] [[0.5]]

    Reference:
        Ng and others, UFLDL tutorial, "Linear decoders with autoencoders".
    """
    flat = np.asarray(patches, "float64")
    check_number("epsilon", epsilon, "is added to the variances", above=0)
    if len(flat) < 2:
        raise ValueError(f"`patches` need a covariance, so there must be at least two. Received: {len(flat)} patches.")
    flat = flat.reshape(len(flat), -1)
    mean = flat.mean(axis=0)
    variances, axes = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    return mean.astype("float32"), (axes / np.sqrt(variances.clip(0) + epsilon) @ axes.T).astype("float32")


def patches(count, size=SIZE, seed=0, whitened=True, color=False, split="train"):
    """Draws patches of natural photographs, each from a different place.

    All places with enough contrast are equally likely: those where the whitened grey patch has at least a fifth of the
    variance of its photograph. Training and test patches share no pixel and are at least 8 pixels apart.

    Args:
        count: Integer, at least 1. Number of patches.
        size: Integer, at least 2. Height and width in pixels.
        seed: Integer that fixes the places.
        whitened: Whether to whiten. Grey photographs are whitened by `whiten` to variance 0.1, and each patch is shifted to
            mean 0. Colour patches are whitened by the `zca` of 20,000 training patches. If False, patches are in [0, 1].
        color: Whether patches are in colour.
        split: `"train"` for the upper three quarters of the photographs, `"test"` for the rest.

    Returns:
        float32 array of shape `(count, size, size, 1)`, or `(count, size, size, 3)` in colour.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:

    >>> patches(1000).shape, patches(10, color=True).shape
    ((1000, 8, 8, 1), (10, 8, 8, 3))

    References:
        Ng, "Sparse autoencoder", CS294A lecture notes, 2011; Ng and others, UFLDL tutorial: 8 x 8 patches.
    """
    count = check_integer("count", count, "is the number of patches")
    size = check_integer("size", size, "is the height and width of a patch in pixels", at_least=2)
    if split not in COUNTS:
        raise ValueError(f"`split` is a part of the photographs, 'train' or 'test'. Received: split={split!r}.")
    if not color:
        drawn = _draw(count, size, seed, whitened, False, split)
        return drawn - drawn.mean(axis=(1, 2), keepdims=True) if whitened else drawn
    drawn = _draw(count, size, seed, False, True, split)
    if not whitened:
        return drawn
    mean, matrix = _color_whitening(size)
    return ((drawn.reshape(count, -1) - mean) @ matrix).reshape(drawn.shape)


def read(name, split):
    """The data set `"patches"`, `"color_patches"` or `"photographs"`, as a dictionary of `image` and `label` (all 0).

    Args:
        name: A name in `DATA_SETS`.
        split: A split in the syntax of TFDS. There are 20,000 training and 5,000 test patches.
    """
    chosen = [patches(COUNTS[part], split=part, **DATA_SETS[name])[rows] for part, rows in examples_of(name, split, COUNTS)]
    images = np.concatenate(chosen)
    return {"image": images, "label": np.zeros(len(images), "int64")}


@functools.cache
def _color_whitening(size):
    return zca(_draw(COUNTS["train"], size, 0, False, True, "train"))


def _draw(count, size, seed, whitened, color, split):
    contrasts, windows = [], []
    for photograph in _photographs():
        grey = photograph @ np.float32([0.299, 0.587, 0.114])
        white = whiten(grey)
        cut = int(_TRAIN_SHARE * len(photograph))
        region = np.s_[:cut] if split == "train" else np.s_[cut:]
        contrasts.append(_windows(white[region], size).var(axis=(-2, -1)) / white.var())
        picture = photograph if color else (white if whitened else grey)[..., None]
        windows.append(_windows(picture[region], size))
    places = np.concatenate(
        [np.insert(np.argwhere(contrast >= _LEAST_CONTRAST), 0, which, axis=1) for which, contrast in enumerate(contrasts)]
    )
    if count > len(places):
        raise ValueError(
            f"The {split} part of the photographs has {len(places):,} places of {size} x {size} pixels with enough contrast. "
            f"Received: count={count}. Lower `count` or `size`."
        )
    drawn = np.random.default_rng(seed).choice(places, count, replace=False)
    chosen = np.stack([windows[which][row, column] for which, row, column in drawn])  # (count, channels, size, size)
    return np.ascontiguousarray(np.moveaxis(chosen, 1, -1))


def _windows(picture, size):
    inside = picture[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    if size > min(inside.shape[:2]):
        raise ValueError(
            f"Patches are cut from parts of photographs of {inside.shape[0]} x {inside.shape[1]} pixels. "
            f"Received: size={size}. Lower `size`."
        )
    return np.lib.stride_tricks.sliding_window_view(inside, (size, size), axis=(0, 1))


def _photographs():
    """The two photographs, as float32 of shape `(427, 640, 3)` in [0, 1]."""
    import tensorflow as tf

    package = importlib.util.find_spec("sklearn")
    if package is None:
        raise ImportError('The photographs come with scikit-learn: pip install "keras_sae[evaluation]".')
    directory = Path(package.origin).parent / "datasets" / "images"
    for name in ("china.jpg", "flower.jpg"):
        pixels = tf.io.decode_jpeg((directory / name).read_bytes(), dct_method="INTEGER_ACCURATE").numpy()
        yield pixels.astype("float32") / 255
