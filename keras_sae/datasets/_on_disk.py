import numpy as np


class OnDisk:
    """One feature of a split that does not fit into memory: what is asked of an array in training, read when it is needed.

    Args:
        dataset: `tf.data.Dataset` of the stored examples, tuples of features, always in the same order.
        position: Integer, which of the features.
        count: Integer, the number of examples.
        window: Integer, how many of them are shuffled at a time.

    Attributes:
        shape, dtype: As of an array of all examples.
    """

    def __init__(self, dataset, position, count, window):
        spec = dataset.element_spec[position]
        self.dataset = dataset
        self.position = position
        self.window = window
        self.shape = (count, *spec.shape)
        self.dtype = np.dtype(spec.dtype.as_numpy_dtype)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """The first `rows.stop` examples, as an array. Others are not to be had without reading what comes before them."""
        if not isinstance(rows, slice) or rows.start or rows.step or rows.stop is None or rows.stop < 0:
            raise TypeError(f"Of examples that stay on disk only the first n can be taken, as in x[:10]. Received: {rows}.")
        taken = [example[self.position] for example in self.dataset.take(rows.stop).as_numpy_iterator()]
        return np.asarray(taken, self.dtype).reshape(-1, *self.shape[1:])

    def parts(self, size=4096):
        """All examples, in order, as arrays of up to `size`."""
        for batch in self.dataset.batch(size).prefetch(1).as_numpy_iterator():
            yield batch[self.position]
