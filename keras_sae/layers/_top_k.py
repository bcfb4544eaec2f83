"""Exact top-k of a code: which entries compete, which are the largest, and how to zero the others."""

import math

import keras
from keras import ops

from keras_sae.ops import largest_entries


def rows_across(scores, across):
    """Reshapes a code so that each row holds entries that compete with each other.

    Args:
        scores: Float tensor of shape `(batch, ..., units)`. The sizes of the axes along which entries compete are known.
        across: Which entries compete: `"units"` of a position, `"positions"` of a unit in a sample, `"all"` entries of a
            sample, or in `"batch"` the positions of a unit in the whole batch.

    Returns:
        Tensor of shape `(rows, competitors)`, and a function from indices into its rows, `(rows, n)`, to indices into the
        flattened code.
    """
    units = scores.shape[-1]
    if across == "batch":
        rows = ops.transpose(ops.reshape(scores, (-1, units)))  # (units, batch * positions)
        return rows, lambda indices: indices * units + _column(units)
    positions = 1 if across == "units" else math.prod(scores.shape[1:-1])
    if across == "positions":
        rows = ops.transpose(ops.reshape(scores, (-1, positions, units)), (0, 2, 1))
        rows = ops.reshape(rows, (-1, positions))  # (batch * units, positions)
        row = _column(ops.shape(rows)[0])
        return rows, lambda indices: (row // units * positions + indices) * units + row % units
    competitors = positions * units
    rows = ops.reshape(scores, (-1, competitors))
    return rows, lambda indices: indices + competitors * _column(ops.shape(rows)[0])


def from_rows(rows, across, shape):
    """The code of this shape of which `rows_across` made these rows."""
    units = shape[-1]
    if across == "batch":
        return ops.reshape(ops.transpose(rows), shape)
    if across == "positions":
        return ops.reshape(ops.transpose(ops.reshape(rows, (-1, units, rows.shape[-1])), (0, 2, 1)), shape)
    return ops.reshape(rows, shape)


def _column(size):
    return ops.expand_dims(ops.arange(size, dtype="int32"), 1)


def largest_of_rows(scores, count, limit=None):
    """Finds the `count` largest entries of each row, exactly that many, ties included.

    Args:
        scores: Float tensor of shape `(rows, competitors)` without NaN.
        count: Integer of at most `competitors`; or a scalar integer tensor of at most `limit`.
        limit: Integer, the upper bound of `count`. By default `count` itself, which is then an integer.

    Returns:
        The largest entries, and their indices into the rows (int32), both of shape `(rows, limit)`. And a boolean tensor of
        that shape that says which of them are among the `count` largest, or None where all are.
    """
    values, indices = largest_entries(scores, count if limit is None else limit, ordered=limit is not None)
    if limit is None:
        return values, indices, None
    return values, indices, ops.broadcast_to(ops.arange(limit, dtype="int32") < count, ops.shape(indices))


def of_this_replica(indices, wins, start, size):
    """Turns indices into the entries of all replicas into indices into the `size` entries of one, which begin at `start`."""
    indices = ops.cast(indices, "int32") - start
    here = ops.logical_and(indices >= 0, indices < size)
    wins = here if wins is None else ops.logical_and(here, wins)
    return ops.where(here, indices, 0), wins


def keep(inputs, indices, wins=None, values=None):
    """Zeroes every entry except those at `indices`. Gradients flow through these only.

    Args:
        inputs: Float tensor of any shape.
        indices: Integer tensor of any shape, indices into the flattened `inputs`. None wins twice.
        wins: Boolean tensor of the shape of `indices`: which of them to keep. By default all.
        values: The entries of `inputs` at `indices`, where the caller has them already.
    """
    shape = ops.shape(inputs)
    indices = ops.reshape(indices, (-1,))
    size = ops.size(inputs)

    def entries(tensor):
        return winners(ops.take(ops.reshape(tensor, (-1,)), indices))

    def winners(kept):
        return kept if wins is None else ops.where(ops.reshape(wins, (-1,)), kept, ops.cast(0, kept.dtype))

    def spread(kept):
        return ops.reshape(ops.segment_sum(kept, indices, size), shape)

    if keras.backend.backend() != "tensorflow":
        return spread(entries(inputs))

    # TensorFlow's gradient of `take` is slower than the map itself, which is its own adjoint.
    @ops.custom_gradient
    def select(tensor):
        kept = entries(tensor) if values is None else winners(ops.reshape(values, (-1,)))
        return spread(kept), lambda upstream: spread(entries(upstream))

    return select(inputs)


def with_nan_of(inputs, selected):
    """Puts every NaN of a code back into the selected code."""
    return ops.where(ops.isnan(inputs), inputs, selected)
