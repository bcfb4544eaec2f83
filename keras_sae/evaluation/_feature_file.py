import contextlib
import tempfile
from pathlib import Path

import numpy as np
from keras import ops

from keras_sae._checks import check_integer
from keras_sae.evaluation._encode import batches_of

# Entries of features that are read at a time.
_MOST_ENTRIES = 16_000_000
# Batches that are computed before the model is compiled.
_EAGER = 20


class FeatureFile:
    """Features on disk, `(n, width)` in float32, which are read a part at a time. `probe` takes one in place of an array.

    Args:
        path: The file.
        width: Integer, the number of features.
        start, stop: Integers, the rows of the file that are meant.
        scale: What features are divided by when they are read.
    """

    def __init__(self, path, width, start, stop, scale=1.0):
        self.path = Path(path)
        self.shape = (stop - start, width)
        self.start = start
        self.scale = np.float32(scale)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """A slice of the rows as another `FeatureFile`, or the rows of an array of indices as an array."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return FeatureFile(self.path, self.shape[1], self.start + start, self.start + max(start, stop), self.scale)
        return self._rows[self.start + np.asarray(rows, int)] / self.scale

    def parts(self):
        """Arrays of the rows in their order."""
        for part in self.stored_parts():
            yield part if self.scale == 1 else part / self.scale

    def stored_parts(self):
        """The same as they lie on the disk, not divided by `scale`. Nothing is copied."""
        count = max(1, _MOST_ENTRIES // self.shape[1])
        for row in range(self.start, self.start + len(self), count):
            yield self._rows[row : min(row + count, self.start + len(self))]

    def over_deviation(self):
        """The same features divided by their overall standard deviation, and that."""
        sums = np.zeros(2)
        for part in self.parts():
            sums += part.sum(dtype="float64"), np.square(part, dtype="float64").sum()
        mean, square = sums / (len(self) * self.shape[1])
        deviation = np.float32(np.sqrt(max(square - mean**2, 0)) or 1)
        return FeatureFile(self.path, self.shape[1], self.start, self.start + len(self), self.scale * deviation), deviation

    @property
    def _rows(self):
        """All rows of the file, read when they are used."""
        if not self.path.stat().st_size:
            return np.zeros((0, self.shape[1]), "float32")
        return np.memmap(self.path, "float32", "r").reshape(-1, self.shape[1]).view(np.ndarray)


@contextlib.contextmanager
def features_on_disk(model, x, flips=False, folder=None, held_out=0):
    """Context manager that computes features batch by batch and keeps them in a temporary file instead of memory.

    60,000 x 12,800 features take 3 GB of disk, and a probe of them less than 1 GB of memory.

    Args:
        model: A `SparseAutoencoder`, whose `features` are read; or any Keras model or function of a batch.
        x: Array of inputs, uint8 images or floats. uint8 is divided by 255.
        flips: Whether horizontal mirror images follow, twice as many rows.
        folder: Where the file is written. By default the folder of the system for temporary files.
        held_out: Integer. With `flips`, the last `held_out` inputs and their mirror images come after all others, so that rows
            split into two parts without a mirror image of one in the other.

    Yields:
        A `FeatureFile`. It ends with the context.

    Example:

    >>> with features_on_disk(lambda batch: 2 * batch, np.ones((5, 3), "float32")) as features:
    ...     features.shape, float(next(features.parts())[0, 0])
    ((5, 3), 2.0)
    """
    check_integer("held_out", held_out, "counts inputs", at_least=0, at_most=len(x))
    kept = len(x) - held_out
    function = getattr(model, "features", model)
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        path, width, rows = Path(directory) / "features", 0, 0
        with open(path, "wb") as file:
            for part in (x[:kept], x[kept:]) if flips else (x,):
                for mirrored in (False, True) if flips else (False,):
                    for features in rows_of(function, part, mirrored):
                        features.tofile(file)
                        width, rows = features.shape[1], rows + len(features)
        yield FeatureFile(path, width, 0, rows)


def rows_of(function, x, mirrored=False):
    """The features of `x`, or of its horizontal mirror images, as float32 arrays `(n, width)` of some rows each."""
    for number, batch in enumerate(batches_of(function, x)):
        # Compiling takes as long as a few batches.
        yield as_rows(function, np.flip(batch, axis=-2) if mirrored else batch, compiled=number >= _EAGER)


def as_rows(function, batch, compiled=False):
    """The features of a batch as a float32 array `(n, width)`."""
    if compiled and hasattr(function, "predict_on_batch"):
        features = function.predict_on_batch(batch)
    else:
        features = function(batch, training=False) if hasattr(function, "layers") else function(batch)
    if ops.is_tensor(features):
        features = ops.convert_to_numpy(ops.cast(features, "float32"))
    return np.asarray(features, "float32").reshape(len(batch), -1)
