"""Reads what a detector is given: arrays, data frames, data sets; checks it, and cuts it into batches of floats."""

import functools
import math
import types
import zlib

import keras
import numpy as np

from keras_sae._pixels import as_input
from keras_sae.datasets import read_batches

_READABLE = ("__iter__", "__getitem__", "parts")
_CHUNK = 4096  # samples that are checked at a time


class Samples:
    """Inputs of a model, in batches of bounded size.

    Args:
        x: Array or data frame of shape `(n, ...)`, or a data set of batches, of which inputs are read.
        shape: Tuple, the shape of one input; None for any size.
        dtype: The dtype that the model reads.
        batch_size: Integer.
        name: What the data is, for errors.

    Raises:
        ValueError: The data is of another shape or type, or not finite. Arrays are checked whole, data sets by batch.
    """

    def __init__(self, x, shape, dtype, batch_size, name="x"):
        self.shape, self.dtype, self.batch_size, self.name = tuple(shape), dtype, batch_size, name
        self.sizes = self.shape  # of the samples, once they are known
        self._x = x = x.to_numpy() if hasattr(x, "to_numpy") else np.asarray(x) if isinstance(x, (list, tuple)) else x
        if isinstance(x, np.ndarray) and x.shape == (0,):  # of an empty list
            self._x = x = np.zeros((0, *(size or 1 for size in self.shape)), "float32")
        self.count = None
        if hasattr(x, "shape") and not hasattr(x, "parts"):  # an array
            self._check_batch_axis(tuple(x.shape))
            self.count = int(x.shape[0])
            for start in range(0, self.count, _CHUNK):
                self._read(x[start : start + _CHUNK])
        elif isinstance(x, (str, types.GeneratorType)) or not any(map(functools.partial(hasattr, x), _READABLE)):
            raise TypeError(
                f"`{name}` must be an array of inputs, or a data set that can be read more than once: a `tf.data.Dataset` of "
                f"batches or a `keras.utils.PyDataset`. Received: {type(x).__name__}."
            )
        elif _is_infinite(x):
            raise ValueError(
                f"`{name}` is a data set without an end, and a detector reads all of it. Take a number of batches of it: "
                "`dataset.take(100)`."
            )

    def batches(self):
        """Arrays of at most `batch_size` inputs, as the model reads them."""
        for large in self._large_batches():
            for start in range(0, len(large), self.batch_size):
                yield self._read(large[start : start + self.batch_size])

    def _large_batches(self):
        if hasattr(self._x, "parts"):
            yield from self._x.parts()
            return
        for inputs, _ in read_batches(self._x, most=math.inf, read=lambda batch: batch)[0]:
            yield inputs

    def _read(self, batch):
        """A batch as the model reads it, checked."""
        batch = batch.toarray() if hasattr(batch, "toarray") else batch  # a sparse matrix
        batch = keras.ops.convert_to_numpy(batch) if keras.ops.is_tensor(batch) else np.asarray(batch)
        self._check_batch_axis(batch.shape)
        if not (np.issubdtype(batch.dtype, np.number) or batch.dtype == bool):
            raise ValueError(
                f"`{self.name}` must hold numbers. Received: an array of dtype {batch.dtype}. Encode words as numbers."
            )
        if "float" not in self.dtype:
            return batch.astype(self.dtype)
        batch = as_input(batch).astype(self.dtype)
        wrong = ~np.isfinite(batch).all(axis=tuple(range(1, batch.ndim)))
        if wrong.any():
            raise ValueError(
                f"`{self.name}` must be finite: the score of a sample with NaN or infinite values means nothing. Received: "
                f"{int(wrong.sum())} such samples of {len(batch)} in a batch, the first in its row {int(wrong.argmax())}. "
                "Remove them, or fill in what is missing."
            )
        return batch

    def _check_batch_axis(self, shape):
        fits = len(shape) == len(self.shape) + 1 and all(
            size in (None, given) for size, given in zip(self.shape, shape[1:], strict=True)
        )
        if not fits:
            one = " Received one sample? Add a batch axis: `x[None]`." if len(shape) == len(self.shape) else ""
            raise ValueError(
                f"`{self.name}` must be inputs of the model, of shape {('n', *self.shape)}. Received: shape {tuple(shape)}."
                f"{one} Resize or crop images of another size."
            )
        self.sizes = tuple(shape[1:])


def _is_infinite(x):
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches is None
    cardinality = getattr(x, "cardinality", None)
    return cardinality is not None and int(cardinality()) == -1  # of a tf.data.Dataset


def numbers_of(batch):
    """A number for each sample that depends on nothing but its content, to draw the same samples in any order of the data."""
    return np.array([zlib.crc32(np.ascontiguousarray(sample).tobytes()) for sample in batch], "int64")
