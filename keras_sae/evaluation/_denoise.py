import math

import keras
import numpy as np

from keras_sae._checks import check_number
from keras_sae._markdown import table
from keras_sae.evaluation._encode import as_input
from keras_sae.evaluation._pca import principal_components
from keras_sae.evaluation._suite import Suite, check_reconstructs_inputs
from keras_sae.layers import MaskingNoise, SaltAndPepperNoise

_NOISES = ("masking", "salt and pepper", "gaussian")
# The number of principal components is chosen on this many training images.
_CHOOSE = 5000


def denoise(model, train, test, *, noise="masking", amount=0.3, seed=0, report=None):
    """Measures how much noise a model removes from images, next to a median filter and PCA.

        PSNR = mean over images of 10 log10(range**2 / mean squared error)

    PCA is fitted to clean training images. The number of its components is the one that works best on noisy training images, at
    most the number of entries of the code. (With all components it would keep all the noise.) The median filter covers 3 x 3
    pixels.

    Args:
        model: A `SparseAutoencoder` of images.
        train, test: Pairs `(images, labels)` of arrays, clean. uint8 images are divided by 255. Labels are not used.
        noise: `"masking"` (pixels become 0), `"salt and pepper"` (pixels become the lowest or the highest value), or
            `"gaussian"`.
        amount: Float above 0: the share of pixels, or the standard deviation.
        seed: Integer. Fixes the noise.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `psnr` in decibels of the model's reconstructions of noisy images; and `noisy`, `median` and
        `pca` (with its `components`), dictionaries of the `psnr` of noisy images and of what the two baselines make of them.
    """
    _check(noise, amount)
    try:
        from scipy.ndimage import median_filter
    except ImportError as error:
        raise ImportError('The median filter needs SciPy: pip install "keras_sae[evaluation]".') from error

    check_reconstructs_inputs("Denoising", model)
    report = report or (lambda sentence: None)
    train_x, clean = (as_input(np.asarray(images)).astype("float32") for images, _ in (train, test))
    low, high = float(clean.min()), float(clean.max())
    random = np.random.default_rng(seed)
    noisy = add_noise(clean, noise, amount, random, low, high)
    report(f"Denoising {len(clean):,} test images with {noise} noise of {amount:g} ...")
    denoised = model.predict(noisy, batch_size=1000, verbose=0)
    filtered = median_filter(noisy, size=(1, 3, 3, 1)[: noisy.ndim])

    pca = principal_components(train_x, math.prod(model.encoder.output_shape[1:]))
    some = train_x[:_CHOOSE]
    wanted, seen = (pca.coefficients(each) for each in (some, add_noise(some, noise, amount, random, low, high)))
    # How much each component lowers the squared error. The first ones are kept, as many as make the largest sum.
    components = 1 + int(np.argmax(np.cumsum((2 * wanted * seen - seen**2).mean(axis=0))))

    def figures(images):
        return {"psnr": psnr(clean, images, high - low)}

    return {
        **figures(denoised),
        "noisy": figures(noisy),
        "median": figures(filtered),
        "pca": {**figures(pca.reconstruct(noisy, components)), "components": components},
    }


def _check(noise="masking", amount=0.3, **others):
    if noise not in _NOISES:
        raise ValueError(f"`noise` must be one of {', '.join(map(repr, _NOISES))}. Received: noise={noise!r}.")
    check_number("amount", amount, "is the share of noisy pixels, or the standard deviation of the noise,", above=0)
    if noise != "gaussian":
        MaskingNoise(amount)  # refuses shares that cannot be


def add_noise(images, noise, amount, random, low=0.0, high=1.0):
    """Adds noise to images, the same on every backend.

    Args:
        images: float32 array.
        noise, amount: As in `denoise`.
        random: `numpy.random.Generator`.
        low, high: Floats, the values of salt and pepper.
    """
    if noise == "gaussian":
        return images + amount * random.normal(size=images.shape).astype("float32")
    layer = MaskingNoise(amount) if noise == "masking" else SaltAndPepperNoise(amount, low, high)
    return keras.ops.convert_to_numpy(layer.corrupt(images, random.uniform(size=images.shape).astype("float32")))


def psnr(clean, images, max_value=1.0):
    """The peak signal-to-noise ratio in decibels, averaged over images.

    Args:
        clean, images: Arrays `(n, ...)` of one shape.
        max_value: Float, the range of the data.

    Example:

    >>> round(psnr(np.zeros((1, 4)), np.full((1, 4), 0.1)), 6)
    20.0
    """
    error = np.square(np.asarray(clean, "float64") - images).reshape(len(clean), -1).mean(axis=1)
    return float(np.mean(20 * np.log10(max_value) - 10 * np.log10(error)))


def _section(figures, options, metadata):
    images = {
        "noisy images": figures["noisy"],
        "median filter, 3 x 3": figures["median"],
        f"PCA, {figures['pca']['components']} components": figures["pca"],
        "this model": figures,
    }
    rows = [(name, f"{each['psnr']:.2f} dB") for name, each in images.items()]
    title = f"### Denoising: PSNR, {options.get('noise', 'masking')} noise of {options.get('amount', 0.3):g}"
    text = "PCA is fitted to clean training images, with the number of components that works best on noisy training images."
    return [title, "", *table(("", ""), rows), "", text, ""]


SUITE = Suite(
    denoise,
    _section,
    unit=" dB",
    higher_is_better=True,
    baselines=("noisy", "median", "pca"),
    choices=frozenset({"components"}),
    figures=lambda options: ("psnr", "noisy.psnr", "median.psnr", "pca.psnr"),
    needs_sklearn=lambda options: True,
    check=lambda options, shape: _check(**options),
)
