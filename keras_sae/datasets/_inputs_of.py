"""Reads inputs from whatever `fit` takes: arrays, data frames, data sets, generators."""

import itertools
import math
import types

import keras
import numpy as np

from keras_sae._pixels import as_input

# Samples that are read of data sets, whose size may be unknown or infinite. Arrays are read whole.
MOST_OF_STREAM = 50_000
_CHUNK = 4096  # rows of an array at a time


def read_batches(x, sample_weight=None, validation_split=0.0, most=MOST_OF_STREAM, steps=None, read=as_input):
    """Pairs of inputs and weights (or None) from what `fit` takes as `x`; and what to give to `fit` in its place.

    Args:
        x: Array, tensor, data frame, or one of these in a list or dictionary; data set; generator.
        sample_weight, validation_split: As in `fit`. What is held out for validation is not read.
        most: Integer, the samples that are read of a stream.
        steps: Integer, the batches that are read of a stream; None for no limit.
        read: Function of an array of inputs, applied to each batch.

    Returns:
        An iterable of pairs, and `x`: a generator that was read from is replaced by one that gives the same.
    """

    def of_batch(batch):
        inputs, weights = _of_batch(batch)
        return read(inputs), weights

    if isinstance(x, types.GeneratorType):
        seen = list(_first(x, most, steps))
        return map(of_batch, seen), _chained(seen, x)
    if isinstance(x, keras.utils.PyDataset):
        count = x.num_batches
        numbers = itertools.count() if count is None else range(count)
        return map(of_batch, _first((x[number] for number in numbers), most, steps)), x
    if not (hasattr(x, "shape") or isinstance(x, (list, tuple, dict))):
        return map(of_batch, _first(x, most, steps)), x
    array = keras.tree.flatten(x)[0] if isinstance(x, (list, tuple, dict)) else x
    return _chunks(array, read, sample_weight, math.floor(array.shape[0] * (1 - (validation_split or 0)))), x


def _chunks(array, read, weights, count):
    for start in range(0, count, _CHUNK):
        rows = slice(start, min(start + _CHUNK, count))
        yield read(_as_numpy(array[rows])), None if weights is None else _as_numpy(weights[rows])


def _first(batches, most, steps):
    """The first batches, up to a number of samples and of steps."""
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
    return _as_numpy(inputs), None if weights is None else _as_numpy(weights)


def _as_numpy(values):
    if hasattr(values, "toarray"):  # a sparse matrix
        return values.toarray()
    if type(values).__name__ == "PerReplica":
        return np.concatenate([np.asarray(value) for value in values.values])
    return keras.ops.convert_to_numpy(values) if keras.ops.is_tensor(values) else np.asarray(values)
