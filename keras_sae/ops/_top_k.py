"""Exact top-k of wide rows."""

import keras
from keras import ops

from keras_sae._checks import check_integer

# TensorFlow: entries in a block of the first level, and how many times as many blocks as winners a row must have for two
# levels to pay (measured from 1,000 to 65,536 units, k from 25 to 128, on a CPU with AVX-512).
_BLOCK = 32
_BLOCKS_PER_WINNER = 4


def top_k(inputs, k):
    """Finds the `k` largest entries of each row, largest first. Gradients flow through these entries only.

    The result is exact. Among equal entries the first ones win (on PyTorch, those that its top-k returns). A NaN counts as
    minus infinity.

    On TensorFlow, rows that are wide in comparison with `k` are searched on two levels: the maxima of blocks of 32 entries,
    then the entries of the best `k` blocks. No other block can hold a winner.

    Args:
        inputs: Float tensor of shape `(..., units)`.
        k: Integer, at least 1 and at most `units`.

    Returns:
        The values and their indices into the rows (int32), both of shape `(..., k)`.

    Example:

    >>> values, indices = top_k(np.array([[0.5, -3.0, 2.0, 1.0]], "float32"), 2)
    >>> keras.ops.convert_to_numpy(values).tolist(), keras.ops.convert_to_numpy(indices).tolist()
    ([[2.0, 1.0]], [[2, 3]])
    """
    inputs = ops.convert_to_tensor(inputs)
    units = inputs.shape[-1] if len(inputs.shape) else None
    if units is None:
        raise ValueError(
            f"`top_k` searches rows of known length, the last axis. Received: inputs of shape {tuple(inputs.shape)}."
        )
    k = check_integer("k", k, f"is the number of entries to find in rows of {units},", at_most=units)
    numbers = ops.cond(has_nan(inputs), lambda: without_nan(inputs), lambda: inputs)
    rows = ops.reshape(numbers, (-1, units))
    _, indices = largest_entries(ops.stop_gradient(rows), k)
    shape = (*ops.shape(inputs)[:-1], k)
    return ops.reshape(take_of_rows(rows, indices), shape), ops.reshape(indices, shape)


def largest_entries(rows, k, magnitude=False, ordered=True):
    """The `k` largest entries of each row, and their indices (int32), both of shape `(rows, k)`.

    Args:
        rows: Float tensor of shape `(rows, units)` without NaN.
        k: Integer, or a scalar integer tensor.
        magnitude: Whether the largest in absolute value are meant. The entries are returned with their signs.
        ordered: Whether the largest come first. Without it, the order is not determined.
    """
    units = rows.shape[-1]
    known = isinstance(units, int) and isinstance(k, int)
    blocks = units // _BLOCK if known else 0
    if keras.backend.backend() != "tensorflow" or not known or blocks < _BLOCKS_PER_WINNER * k:
        return _largest(rows, k, magnitude, ordered)
    import tensorflow as tf

    rest = units % _BLOCK
    in_blocks = tf.reshape(rows[:, : units - rest] if rest else rows, (-1, blocks, _BLOCK))
    best = tf.reduce_max(in_blocks, axis=-1)
    if magnitude:
        best = tf.maximum(best, -tf.reduce_min(in_blocks, axis=-1))
    # In the order of the row, so that the first of equal entries wins.
    chosen = tf.sort(tf.math.top_k(best, k, sorted=False).indices, axis=-1)  # (rows, k)
    entries = tf.reshape(take_of_rows(in_blocks, chosen), (-1, k * _BLOCK))
    if rest:  # which makes no block, and follows the last one
        entries = tf.concat([entries, rows[:, units - rest :]], axis=-1)
        chosen = tf.pad(chosen, [[0, 0], [0, 1]], constant_values=blocks)
    values, places = _largest(entries, k, magnitude, ordered)
    return values, take_of_rows(chosen, places // _BLOCK) * _BLOCK + places % _BLOCK


def _largest(rows, k, magnitude, ordered):
    values, indices = ops.top_k(ops.abs(rows) if magnitude else rows, k, sorted=ordered)
    indices = ops.cast(indices, "int32")
    return (take_of_rows(rows, indices) if magnitude else values), indices


def take_of_rows(tensor, indices):
    """`tensor[row, indices[row]]` of every row."""
    if keras.backend.backend() != "tensorflow":
        return ops.take_along_axis(tensor, indices, axis=1)
    import tensorflow as tf

    return tf.gather(tensor, indices, batch_dims=1)


def has_nan(scores):
    """Whether there may be a NaN, in one pass. Infinities of both signs also give True, which costs time only."""
    return ops.isnan(ops.sum(scores))


def without_nan(scores):
    """Replaces every NaN by the smallest score, minus infinity."""
    return ops.where(ops.isnan(scores), ops.cast(float("-inf"), scores.dtype), scores)
