"""The mean of what `fit` takes: arrays, data sets, generators."""

import itertools
import math
import types

import keras
import numpy as np

from keras_sae._pixels import as_input

# Samples that are read of data sets, whose size may be unknown or infinite. Arrays are read whole.
MOST_OF_STREAM = 50_000
_CHUNK = 4096  # rows of an array at a time


class Moments:
    """Sums over samples, from which the mean and the spread of data follow.

    Args:
        axes: Number of the last axes that have a mean of their own; the others are averaged over.
    """

    def __init__(self, axes):
        self.axes = axes
        self.count, self.total, self.squares = 0.0, 0.0, 0.0

    def add(self, inputs, weights=None):
        """Adds a batch. A sample counts as often as its weight says."""
        inputs = np.asarray(inputs, "float64")
        kept = inputs.shape[inputs.ndim - self.axes :]
        rows = inputs.reshape(len(inputs), -1, *kept)  # (batch, positions, *kept)
        weights = np.ones(len(rows)) if weights is None else np.asarray(weights, "float64").reshape(len(rows), -1).mean(axis=1)
        finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))  # a NaN shall show in the loss, not stay in the mean
        rows, weights = rows[finite], weights[finite]
        self.count += weights.sum() * rows.shape[1]
        self.total += np.tensordot(weights, rows.sum(axis=1), axes=1)
        self.squares += np.tensordot(weights, np.square(rows).sum(axis=1), axes=1)

    def sum_over(self, workers):
        """Adds up what the workers have seen. The data may be the same on all, or a share of it on each."""
        joined = np.concatenate([[self.count], np.ravel(self.total), np.ravel(self.squares)])
        count, *sums = workers.sum(joined)
        self.total, self.squares = (half.reshape(np.shape(self.total)) for half in np.split(np.array(sums), 2))
        self.count = count

    @property
    def mean(self):
        return self.total / self.count

    @property
    def offset(self):
        """How far the data is from centred: the size of its mean, in standard deviations about it."""
        mean = self.mean
        spread = np.sum(self.squares / self.count - np.square(mean))
        size = np.sum(np.square(mean))
        return math.sqrt(size / spread) if spread > 0 else math.inf if size > 0 else 0.0


def read_batches(x, sample_weight=None, validation_split=0.0, most=MOST_OF_STREAM, steps=None):
    """Pairs of inputs and weights (or None) from what `fit` takes as `x`; and what to give to `fit` in its place.

    Args:
        x: Array, tensor, data frame, or one of these in a list or dictionary; data set; generator.
        sample_weight, validation_split: As in `fit`. What is held out for validation is not read.
        most: Integer, the samples that are read of a stream.
        steps: Integer, the batches that are read of a stream; None for no limit.

    Returns:
        An iterable of pairs, and `x`: a generator that was read from is replaced by one that gives the same.
    """
    if isinstance(x, types.GeneratorType):
        seen = list(_first(x, most, steps))
        return map(_of_batch, seen), _chained(seen, x)
    if isinstance(x, keras.utils.PyDataset):
        count = x.num_batches
        numbers = itertools.count() if count is None else range(count)
        return map(_of_batch, _first((x[number] for number in numbers), most, steps)), x
    if not (hasattr(x, "shape") or isinstance(x, (list, tuple, dict))):
        return map(_of_batch, _first(x, most, steps)), x
    array = keras.tree.flatten(x)[0] if isinstance(x, (list, tuple, dict)) else x
    return _chunks(array, sample_weight, math.floor(array.shape[0] * (1 - (validation_split or 0)))), x


def _chunks(array, weights, count):
    for start in range(0, count, _CHUNK):
        rows = slice(start, min(start + _CHUNK, count))
        yield _inputs(array[rows]), None if weights is None else _as_numpy(weights[rows])


def _first(batches, most, steps):
    """The first batches, up to so many samples and steps."""
    seen = 0
    for batch in itertools.islice(batches, steps):
        yield batch
        seen += len(_of_batch(batch)[0])
        if seen >= most:
            return


def _chained(seen, rest):
    """A generator, because Keras takes no other iterator."""
    yield from seen
    yield from rest


def _of_batch(batch):
    """The inputs and weights of a batch of a stream: inputs, `(inputs, y)` or `(inputs, y, weights)`."""
    inputs, _, weights = keras.utils.unpack_x_y_sample_weight(batch)
    (inputs,) = keras.tree.flatten(inputs)
    return _inputs(inputs), None if weights is None else _as_numpy(weights)


def _inputs(values):
    return as_input(_as_numpy(values))


def _as_numpy(values):
    if hasattr(values, "toarray"):  # a sparse matrix
        return values.toarray()
    if type(values).__name__ == "PerReplica":
        return np.concatenate([np.asarray(value) for value in values.values])
    return keras.ops.convert_to_numpy(values) if keras.ops.is_tensor(values) else np.asarray(values)
