"""Sums over the positions of a code: the dtype they are taken in, how many positions there are, and how they are weighted."""

import keras
from keras import ops


def in_statistics_dtype(code):
    """Casts a code to float32, in which sums over it are taken; float64 stays."""
    code = ops.convert_to_tensor(code)
    return code if keras.backend.standardize_dtype(code.dtype) == "float64" else ops.cast(code, "float32")


def position_count(code, weights=None):
    """The number of positions of a code, the product of all axes but the last, as a float scalar; or the sum of `weights`."""
    if weights is not None:
        return ops.sum(weights)
    count = 1
    for size in ops.shape(code)[:-1]:
        count = count * size
    return ops.cast(count, in_statistics_dtype(code).dtype)


def position_weights(code, sample_weight=None, mask=None):
    """The weight of each position of a code, of shape `(batch, ...)`, or None where all count alike.

    Args:
        code: Tensor of shape `(batch, ..., units)`.
        sample_weight: Weights of samples, `(batch,)`, or of positions, `(batch, ...)`. Other weights, such as those of the
            pixels of an image whose code is a vector, give each sample their mean.
        mask: Mask of the steps of the code, `(batch, steps)`. A masked step has weight 0.
    """
    if sample_weight is None and mask is None:
        return None
    dtype = in_statistics_dtype(code).dtype
    weights = ops.ones(ops.shape(code)[:-1], dtype)
    if sample_weight is not None:
        sample_weight = ops.cast(ops.convert_to_tensor(sample_weight), dtype)
        if tuple(sample_weight.shape[1:]) != tuple(code.shape[1:-1]):
            sample_weight = ops.mean(ops.reshape(sample_weight, (ops.shape(sample_weight)[0], -1)), axis=1)
        weights = weights * _widened(sample_weight, weights)
    return weights if mask is None else weights * _widened(ops.cast(mask, dtype), weights)


def _widened(tensor, like):
    """The tensor with axes of size 1 at the end, as many axes as `like` has."""
    return ops.reshape(tensor, (*ops.shape(tensor), *[1] * (len(like.shape) - len(tensor.shape))))


def weighted(values, weights):
    """Values, one or several for each position, times the weights of the positions; as they are without weights."""
    return values if weights is None else values * _widened(weights, values)
