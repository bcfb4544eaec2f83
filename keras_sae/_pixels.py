"""What integers mean to a model: one rule for training, encoding, evaluation, presets and exports."""

import numpy as np


def scale_of(dtype, name="inputs"):
    """What pixels of this dtype are divided by: 255 for uint8, 1 for floats and booleans.

    The range of other integers cannot be known from their dtype. They are refused with a ValueError, as are complex numbers,
    text and Python objects.
    """
    dtype = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    if dtype == np.uint8:
        return np.float32(255)
    if np.issubdtype(dtype, np.integer):
        raise ValueError(
            "Inputs are floats, or uint8 pixels, which are divided by 255. The range of other integers cannot be known from "
            f"their type. Received: {name} of dtype {dtype}. For pixels from 0 to 255, convert them by "
            '`x.astype("uint8")`; for pixels up to another maximum, by `x.astype("float32") / maximum`; for numbers that '
            'the model should read as they are, by `x.astype("float32")`.'
        )
    if dtype.kind in "cOSUMm":
        raise ValueError(
            f"Inputs are real numbers. Received: {name} of dtype {dtype}. Take a part of complex numbers, such as `abs(x)`; "
            "leave out columns of text; make an array of numbers of a list of samples by `numpy.stack(x)`."
        )
    return np.float32(1)


def as_input(x):
    """What a model reads of an array: uint8 pixels divided by 255, floats unchanged. Other integers are refused."""
    x = np.asarray(x)
    scale = scale_of(x.dtype)
    return x if scale == 1 else x.astype("float32") / scale
