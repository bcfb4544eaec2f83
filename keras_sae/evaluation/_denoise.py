import math

import keras
import numpy as np

from keras_sae.evaluation._code_statistics import as_input
from keras_sae.evaluation._pca import principal_components
from keras_sae.layers import MaskingNoise, SaltAndPepperNoise

_NOISES = ("masking", "salt and pepper", "gaussian")
# Training images on which the number of principal components is chosen.
_CHOOSE = 5000


def denoise(model, train, test, *, noise="masking", amount=0.3, seed=0, report=None):
    """How much noise a model takes off images, beside a median filter and PCA.

        PSNR = mean over images of 10 log10(range**2 / mean squared error)

    PCA is fitted to clean training images. It has as many components as do best on training images with noise, and no more
    than the code has entries; with all of them it would leave the noise as it is. The median filter is of 3 x 3 pixels.

    Args:
        model: A `SparseAutoencoder` of images.
        train, test: Pairs `(images, labels)` of arrays, clean. uint8 images are divided by 255. Labels are not used.
        noise: `"masking"` (pixels become 0), `"salt and pepper"` (pixels become the lowest or the highest value), or
            `"gaussian"`.
        amount: Float, above 0: the share of pixels, or the standard deviation.
        seed: Integer, of the noise.
        report: Called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `psnr` in decibels of what the model makes of noisy images, and of the images in `noisy`,
        `median` and `pca` (with its `components`), dictionaries of `psnr`.
    """
    if noise not in _NOISES or not (isinstance(amount, int | float) and 0 < amount < math.inf):
        raise ValueError(
            f"`noise` is one of {', '.join(map(repr, _NOISES))}, and `amount` a number above 0. "
            f"Received: noise={noise!r}, amount={amount!r}."
        )
    try:
        from scipy.ndimage import median_filter
    except ImportError as error:
        raise ImportError('The median filter needs SciPy: pip install "keras_sae[evaluation]".') from error

    report = report or (lambda sentence: None)
    train_x, clean = (as_input(np.asarray(images)).astype("float32") for images, _ in (train, test))
    low, high = float(clean.min()), float(clean.max())
    random = np.random.default_rng(seed)
    noisy = add_noise(clean, noise, amount, random, low, high)
    report(f"{len(clean):,} test images, with {noise} noise of {amount:g}, denoised ...")
    denoised = model.predict(noisy, batch_size=1000, verbose=0)
    filtered = median_filter(noisy, size=(1, 3, 3, 1)[: noisy.ndim])

    project = principal_components(train_x, math.prod(model.encoder.output_shape[1:]))
    some = train_x[:_CHOOSE]
    wanted, seen = (project.coefficients(each) for each in (some, add_noise(some, noise, amount, random, low, high)))
    # By how much each component lowers the squared error: the sum over those taken is to be the largest.
    components = 1 + int(np.argmax(np.cumsum((2 * wanted * seen - seen**2).mean(axis=0))))

    def figures(images):
        return {"psnr": psnr(clean, images, high - low)}

    return {
        **figures(denoised),
        "noisy": figures(noisy),
        "median": figures(filtered),
        "pca": {**figures(project.reconstruct(noisy, components)), "components": components},
    }


def add_noise(images, noise, amount, random, low=0.0, high=1.0):
    """Images with noise on them, the same whatever the backend.

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
    """The mean over images of the peak signal-to-noise ratio in decibels.

    Args:
        clean, images: Arrays `(n, ...)` of one shape.
        max_value: Float, the range of the data.

    Example:

    >>> round(psnr(np.zeros((1, 4)), np.full((1, 4), 0.1)), 6)
    20.0
    """
    error = np.square(np.asarray(clean, "float64") - images).reshape(len(clean), -1).mean(axis=1)
    return float(np.mean(20 * np.log10(max_value) - 10 * np.log10(error)))
