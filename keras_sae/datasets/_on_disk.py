import contextlib

import numpy as np


class OnDisk:
    """One feature of a split that does not fit into memory. Training uses it like an array; examples are read when needed.

    Args:
        dataset: `tf.data.Dataset` of the stored examples, tuples of features, always in the same order.
        position: Integer, the index of the feature in a tuple.
        count: Integer, the number of examples.
        window: Integer, the number of examples that are shuffled at a time.
        reading: Function that gives a context for reading, which translates errors.

    Attributes:
        shape, dtype: As of an array of all examples.
    """

    def __init__(self, dataset, position, count, window, reading=contextlib.nullcontext):
        spec = dataset.element_spec[position]
        self.dataset = dataset
        self.position = position
        self.window = window
        self.reading = reading
        self.shape = (count, *spec.shape)
        self.dtype = np.dtype(spec.dtype.as_numpy_dtype)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """The first `rows.stop` examples as an array. Reading later ones alone would read all before them too."""
        if not isinstance(rows, slice) or rows.start or rows.step or rows.stop is None or rows.stop < 0:
            raise TypeError(f"These examples stay on disk, so you can read only the first n, as in x[:10]. Received: {rows}.")
        with self.reading():
            taken = [example[self.position] for example in self.dataset.take(rows.stop).as_numpy_iterator()]
        return np.asarray(taken, self.dtype).reshape(-1, *self.shape[1:])

    def parts(self, size=4096):
        """Yields all examples in order, as arrays of up to `size`."""
        batches = iter(self.dataset.batch(size).prefetch(1).as_numpy_iterator())
        while True:
            with self.reading():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch[self.position]
