"""How the entries of a code compete: who is compared with whom, who wins, and what is left of the others."""

import math

import keras
from keras import ops

# Of how many entries `largest_of_many` looks at one. Odd, and so without a common divisor with most widths of a code:
# a stride that has one would see some units only.
_STRIDE = 17


def rows_across(scores, across):
    """Lays out a code so that the entries that compete with each other are one row.

    Args:
        scores: Float tensor of shape `(batch, ..., units)`, the sizes of the axes along which entries compete known.
        across: `"units"` (the units of a position compete), `"positions"` (the positions of a unit in a sample do), `"all"`
            (all entries of a sample do), or `"batch"` (the positions of a unit in the whole batch do).

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


def _column(size):
    return ops.expand_dims(ops.arange(size, dtype="int32"), 1)


def largest_of_rows(scores, count, limit=None):
    """Finds the largest entries of each row, as many as asked for whatever the ties.

    Args:
        scores: Float tensor of shape `(rows, competitors)` without NaN.
        count: Integer, or a scalar integer tensor of at most `limit`. At most `competitors`.
        limit: Integer, what `count` can be at most; by default `count` itself, which then is no tensor.

    Returns:
        The largest entries; their indices into the rows, int32; both of shape `(rows, limit)`; and which of them count, a
        boolean tensor of that shape, or None for all of them.
    """
    values, indices = ops.top_k(scores, count if limit is None else limit, sorted=limit is not None)
    indices = ops.cast(indices, "int32")
    if limit is None:
        return values, indices, None
    return values, indices, ops.broadcast_to(ops.arange(limit, dtype="int32") < count, ops.shape(indices))


def largest_of_many(scores, count):
    """Finds the `count` largest entries of a long vector, exactly that many whatever the ties.

    What makes a top-k slow is an entry that enters the list for a while. So a bound is guessed from a sample of the
    entries, and those below it are put out of the way. Where the guess was too high, it starts again without one.

    Args:
        scores: Float tensor of shape `(entries,)` without NaN.
        count: Integer, or a scalar integer tensor; at least 0 and at most `entries`.

    Returns:
        Indices, int32 of shape `(count,)`, and the smallest score among them.
    """
    lowest = ops.cast(float("-inf"), scores.dtype)
    sample = scores[::_STRIDE]
    # A quarter more than the share of the sample that is wanted, and a few, so that the guess is seldom too high.
    guess = _smaller(count * 5 // (4 * _STRIDE) + 8, ops.shape(sample)[0])
    bound = ops.min(ops.top_k(sample, guess, sorted=False)[0])
    values, indices = ops.top_k(ops.where(scores < bound, lowest, scores), count, sorted=False)
    smallest = ops.min(values)
    return ops.cond(
        smallest > lowest,
        lambda: (indices, smallest),
        lambda: _without_a_bound(scores, count),
    )


def _without_a_bound(scores, count):
    values, indices = ops.top_k(scores, count, sorted=False)
    return indices, ops.min(values)


def _smaller(one, other):
    # Python integers stay what they are: XLA wants the width of a top-k to be one.
    return min(one, other) if isinstance(one, int) and isinstance(other, int) else ops.minimum(one, other)


def of_this_replica(indices, wins, start, size):
    """Turns winners among the entries of all replicas into those among the `size` entries of one, which begin at `start`."""
    indices = ops.cast(indices, "int32") - start
    here = ops.logical_and(indices >= 0, indices < size)
    wins = here if wins is None else ops.logical_and(here, wins)
    return ops.where(here, indices, 0), wins


def keep(inputs, indices, wins=None, values=None):
    """Zeroes every entry but those at `indices`; gradients flow through these alone.

    Args:
        inputs: Float tensor of any shape.
        indices: Integer tensor of any shape, indices into the flattened `inputs`, none of which wins twice.
        wins: Boolean tensor of the shape of `indices`: which of them to keep. By default all.
        values: The entries of `inputs` at `indices`, where they are at hand.
    """
    shape = ops.shape(inputs)
    indices = ops.reshape(indices, (-1,))
    size = ops.size(inputs)

    def entries(tensor):
        return ops.take(ops.reshape(tensor, (-1,)), indices)

    def spread(kept):
        return ops.reshape(ops.segment_sum(kept, indices, size), shape)

    if wins is not None:
        kept = entries(inputs)
        return spread(ops.where(ops.reshape(wins, (-1,)), kept, ops.zeros_like(kept)))
    if keras.backend.backend() != "tensorflow":
        return spread(entries(inputs))

    # TensorFlow's gradient of `take` goes a longer way than the map itself, which is its own adjoint.
    @ops.custom_gradient
    def select(tensor):
        kept = entries(tensor) if values is None else ops.reshape(values, (-1,))
        return spread(kept), lambda upstream: spread(entries(upstream))

    return select(inputs)


def has_nan(scores):
    """Whether there may be a NaN. One pass, which infinities can mislead: that costs time and changes nothing."""
    return ops.isnan(ops.sum(scores))


def without_nan(scores):
    """Makes a NaN the smallest score, which takes no place."""
    return ops.where(ops.isnan(scores), ops.cast(float("-inf"), scores.dtype), scores)


def with_nan_of(inputs, selected):
    """Puts every NaN of a code back into what was selected of it, so that it does not hide."""
    return ops.where(ops.isnan(inputs), inputs, selected)
