"""Exact top-k of wide rows."""

import keras
from keras import ops

from keras_sae._checks import check_integer
from keras_sae.ops._sparse_dense import on_cpu

# Entries in a block of the first level, and how many times as many blocks as winners a row must have for two
# levels to pay (measured from 1,000 to 65,536 units, k from 25 to 128, on a CPU with AVX-512).
_BLOCK = 32
_BLOCKS_PER_WINNER = 4
_SMALL_BLOCKS = range(16, 33)  # entries in a block, where a row has a whole number of them


def top_k(inputs, k):
    """Finds the `k` largest entries of each row, largest first. Gradients flow through these entries only.

    The result is exact. Among equal entries the first ones win (on PyTorch, those that its top-k returns). A NaN counts as
    minus infinity.

    Rows that are wide in comparison with `k` are searched on two levels: the maxima of blocks of 32 entries,
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
    if not known or blocks < _BLOCKS_PER_WINNER * k or rows.shape[0] == 0:
        return _largest(rows, k, magnitude, ordered)
    rest = units % _BLOCK
    in_blocks = ops.reshape(rows[:, : units - rest] if rest else rows, (-1, blocks, _BLOCK))
    best, chosen = ops.top_k(_maxima(in_blocks, magnitude), k, sorted=False)
    # (rows, k), in the order of the row, so that the first of equal entries wins
    chosen = ops.sort(ops.cast(chosen, "int32"), axis=-1)
    entries = ops.reshape(_take_blocks(in_blocks, chosen), (-1, k * _BLOCK))
    # The least of the `k` maxima is a lower bound of the winners. A top-k passes quickly over what lies below it.
    bound = ops.min(best, axis=-1, keepdims=True, initial=float("inf"))
    reached = (ops.abs(entries) if magnitude else entries) >= bound
    entries = ops.where(reached, entries, ops.cast(0 if magnitude else float("-inf"), entries.dtype))
    if rest:  # which makes no block, and follows the last one
        entries = ops.concatenate([entries, rows[:, units - rest :]], axis=-1)
        chosen = ops.pad(chosen, [[0, 0], [0, 1]], constant_values=blocks)
    values, places = _largest(entries, k, magnitude, ordered)
    return values, take_of_rows(chosen, places // _BLOCK) * _BLOCK + places % _BLOCK


def largest_in_order(rows, k, magnitude=False, portable=True):
    """The `k` largest entries of each row in the order of the row, the first of equal ones. A NaN counts as minus infinity.

    Faster than `largest_entries` for wide rows. XLA cannot compile it. TensorFlow only.

    The `k`-th largest maximum of groups of entries is a lower bound of the `k`-th largest entry. Few entries reach it. They are
    found by the maxima of smaller blocks, and only they compete.

    Args:
        rows: Float tensor of shape `(rows, units)`, the units known.
        k: Integer.
        magnitude: Whether the largest in absolute value are meant. The entries are returned with their signs.
        portable: Whether formats that have a top-k but no n-th largest element, such as ONNX, must be able to hold the graph.

    Returns:
        Values and indices (int32), both of shape `(rows, k)`. And a boolean scalar: whether there may be a NaN in the rows.
    """
    import tensorflow as tf

    units = rows.shape[-1]
    block = next((size for size in _SMALL_BLOCKS if units % size == 0), units)
    blocks = units // block

    def strength(entries):
        return tf.abs(entries) if magnitude else entries

    def on_two_levels(doubtful):
        scores = ops.cond(doubtful, lambda: without_nan(rows), lambda: rows)
        indices = tf.sort(largest_entries(scores, k, magnitude, ordered=False)[1], axis=-1)
        return take_of_rows(scores, indices), indices

    if blocks < 2 * k:
        doubtful = has_nan(rows)
        return *on_two_levels(doubtful), doubtful
    best = _maxima(tf.reshape(rows, (-1, blocks, block)), magnitude)  # NaN where a block has one
    doubtful = has_nan(best)
    group = blocks // (2 * k)
    groups = tf.reduce_max(tf.reshape(best[:, : blocks // group * group], (-1, blocks // group, group)), axis=-1)
    bound = _last_of_largest(without_nan(groups), k, portable)
    reach = best >= bound
    # Where many entries are equal, or the largest are close to each other, too many may reach the bound.
    few = tf.reduce_all(tf.math.count_nonzero(reach, axis=-1, dtype=tf.int32) <= 2 * k) & ~doubtful

    def among_candidates():
        of_row, of_block = tf.unstack(tf.where(reach), axis=1)
        entries = tf.gather(tf.reshape(rows, (-1, block)), of_row * blocks + of_block)
        at, inside = tf.unstack(tf.where(strength(entries) >= tf.gather(bound, of_row)), axis=1)
        found = tf.gather(tf.reshape(entries, [-1]), at * block + inside)
        slots = _first_largest(strength(found), tf.gather(of_row, at), tf.shape(rows)[0], k, portable)
        units_found = tf.gather(of_block, at) * block + inside
        return tf.gather(found, slots), tf.cast(tf.gather(units_found, slots), tf.int32)

    values, indices = tf.cond(few, among_candidates, lambda: on_two_levels(doubtful))
    return tf.ensure_shape(values, (None, k)), tf.ensure_shape(indices, (None, k)), doubtful


def _maxima(blocks, magnitude):
    # With `initial`, a maximum of no rows is no error in a graph of TensorFlow.
    best = ops.max(blocks, axis=-1, initial=float("-inf"))
    return ops.maximum(best, -ops.min(blocks, axis=-1, initial=float("inf"))) if magnitude else best


def _last_of_largest(rows, k, portable):
    """The `k`-th largest entry of each row, of shape `(rows, 1)`."""
    import tensorflow as tf

    if portable or not on_cpu():  # an n-th largest element is for CPUs only
        return tf.reduce_min(tf.math.top_k(rows, k, sorted=False).values, axis=-1, keepdims=True)
    return tf.raw_ops.NthElement(input=rows, n=k - 1, reverse=True)[:, None]


def _first_largest(values, rows, count, k, portable):
    """The indices of the `k` largest of the values of each of `count` rows, in order. Each row has at least `k`."""
    import tensorflow as tf

    rows = tf.cast(rows, tf.int32)
    counts = tf.math.bincount(rows, minlength=count, maxlength=count, dtype=tf.int32)[:, None]
    slots = tf.range(tf.maximum(tf.reduce_max(counts), k))[None]  # of no rows, the maximum is negative
    places = tf.cumsum(counts, exclusive=True) + slots
    table = tf.gather(values, tf.minimum(places, tf.size(values) - 1))
    table = tf.where(slots < counts, table, tf.cast(float("-inf"), values.dtype))
    smallest = _last_of_largest(table, k, portable)
    reach = table >= smallest

    def first_of_equal():
        more, equal = table > smallest, table == smallest
        left = k - tf.math.count_nonzero(more, axis=-1, keepdims=True, dtype=tf.int32)
        return more | (equal & (tf.cumsum(tf.cast(equal, tf.int32), axis=-1) <= left))

    wins = tf.cond(tf.math.count_nonzero(reach, dtype=tf.int32) == count * k, lambda: reach, first_of_equal)
    return tf.reshape(tf.gather(tf.reshape(places, [-1]), tf.where(tf.reshape(wins, [-1]))[:, 0]), (-1, k))


def _largest(rows, k, magnitude, ordered):
    values, indices = ops.top_k(ops.abs(rows) if magnitude else rows, k, sorted=ordered)
    indices = ops.cast(indices, "int32")
    return (take_of_rows(rows, indices) if magnitude else values), indices


def _take_blocks(blocks, chosen):
    if keras.backend.backend() == "tensorflow":
        return take_of_rows(blocks, chosen)
    return ops.take_along_axis(blocks, ops.expand_dims(chosen, -1), axis=1)


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
