"""Reads what `fit`, `evaluate` and steps are given: inputs, targets, labels and weights, in any form that Keras takes."""

import keras
from keras import ops

from keras_sae._pixels import scale_of
from keras_sae.regularizers import check_labels


def one_of(data, names, role="input"):
    """The single array or tensor in `data`, which may be in a list or in a dictionary by one of `names`."""
    while isinstance(data, (list, tuple, dict)):
        if len(data) != 1 or (isinstance(data, dict) and next(iter(data)) not in names):
            kinds = [f"{key!r}" for key in data] if isinstance(data, dict) else [type(each).__name__ for each in data[:5]]
            raise ValueError(
                f"The model has one {role}: an array or a tensor, alone, in a list of one, or in a dictionary by its name "
                f"{' or '.join(map(repr, names))}. Received: a {type(data).__name__} of {len(data)}: {', '.join(kinds)}. "
                "Make an array of a list of samples by `numpy.array`."
            )
        data = next(iter(data.values())) if isinstance(data, dict) else data[0]
    return data


def as_float(data, dtype, name="inputs"):
    """A dense tensor of what a model reads: uint8 pixels divided by 255, and no other integers.

    Args:
        data: Array or tensor, which may be sparse.
        dtype: The dtype of the model's input. A model of integers, such as token ids, reads them as they are.
        name: What the data is, for the error.
    """
    data = ops.convert_to_tensor(data, sparse=False)
    given = keras.backend.standardize_dtype(data.dtype)
    if "float" in given or "float" not in dtype:
        return data
    return ops.cast(data, dtype) / float(scale_of(given, name))


def split_labels(supervised, x, y, y_pred, training):
    """The target that was given, or None, and the class labels where a penalty takes them.

    Args:
        supervised: Whether a penalty takes class labels.
        x: The input.
        y: None, or the target. Where a penalty is supervised, also the labels, or the pair (target, labels).
        y_pred: The reconstruction.
        training: Whether a supervised penalty needs its labels.

    Raises:
        ValueError: Labels are missing or are not one integer for each sample.
    """
    if not supervised:
        return y, None
    shapes = [tuple(tensor.shape[1:]) for tensor in (x, y_pred)]
    if isinstance(y, (list, tuple)) and len(y) == 2:
        target, labels = y
    elif y is None or tuple(y.shape[1:]) in shapes:
        target, labels = y, None
    else:
        target, labels = None, y
    if labels is None and training:
        raise ValueError(
            "A supervised penalty such as GroupL21 needs class labels in training: fit(x, labels), or "
            "fit(noisy, (clean, labels)). Received no labels."
        )
    if labels is not None:
        check_labels(labels)
    return target, labels


def check_target(target, y_pred):
    """Raises ValueError unless a reconstruction can be compared with this target."""
    shapes = [tuple(tensor.shape) for tensor in (target, y_pred)]
    if len(shapes[0]) == len(shapes[1]) - 1:
        shapes[0] = (*shapes[0], 1)  # Keras' losses allow a last axis of size 1 to be left out
    if len(shapes[0]) != len(shapes[1]) or any(
        a != b for a, b in zip(shapes[0][1:], shapes[1][1:], strict=True) if None not in (a, b)
    ):
        raise ValueError(
            "An autoencoder is trained on its input, or on a target of the same shape as its reconstruction (as in "
            f"`fit(noisy, clean)`). Received: a target of shape {tuple(target.shape)}, and a reconstruction of shape "
            f"{tuple(y_pred.shape)}. If the data set yields (image, label), drop the label: "
            "`dataset.map(lambda image, label: image)`."
        )
