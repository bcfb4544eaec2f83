"""Windows of time series, in CSV, Parquet or NumPy files, as data sets."""

from pathlib import Path

import numpy as np

from keras_sae._checks import check_integer
from keras_sae.datasets._splits import examples_of
from keras_sae.datasets._table import chosen_columns, numbers, read_table

OPTIONS = ("window", "stride", "columns")


class Series:
    """Windows of a series: float32 of shape `(n, window, channels)`.

    A split is a share of the time steps, in order, and windows are cut within it. So no window crosses the border of a split.

    Args:
        path: A `.csv` or `.parquet` file with a header and one row for each time step; or a `.npy` file of an array of shape
            `(steps,)` or `(steps, channels)`.
        window: Integer, at least 1. Time steps of a window.
        stride: Integer, at least 1. Steps from the start of a window to the start of the next one.
        columns: List of the columns to read, in this order. By default all.

    Attributes:
        columns: The names of the channels.
        counts: `{"train": steps}`.
    """

    def __init__(self, path, window=None, stride=1, columns=None):
        self.path = Path(path).expanduser()
        if window is None:
            raise ValueError(f"A series such as {str(self.path)!r} is cut into windows. Give `window`, the time steps of each.")
        self.window = check_integer("window", window, "is the number of time steps of a window")
        self.stride = check_integer("stride", stride, "is the number of time steps between the starts of two windows")
        if self.path.suffix.lower() == ".npy":
            self.steps = _array(self.path, columns)
            self.columns = [str(channel) for channel in range(self.steps.shape[1])]
        else:
            table = read_table(self.path)
            self.columns = chosen_columns(self.path, table, columns, None)
            self.steps = numbers(self.path, table, self.columns)
        self.class_names = []
        self.counts = {"train": len(self.steps)}

    def starts_of(self, split):
        """The first time step of each window of a split."""
        starts = []
        for part, steps in examples_of(str(self.path), split, self.counts):
            first, stop, _ = steps.indices(self.counts[part])
            if stop - first < self.window:
                raise ValueError(
                    f"A window has {self.window:,} time steps, and the part {split!r} of {str(self.path)!r} has "
                    f"{stop - first:,}. Choose a shorter `window`, or a larger part."
                )
            starts.append(np.arange(first, stop - self.window + 1, self.stride))
        return np.concatenate(starts)

    def arrays(self, split):
        """The windows of a split as an array, and None: they have no labels."""
        starts = self.starts_of(split)
        windows = np.lib.stride_tricks.sliding_window_view(self.steps, self.window, axis=0)  # (starts, channels, window)
        return np.moveaxis(windows[starts], 1, -1), None

    def dataset(self, split, start=0):
        """The windows of a split from the one of number `start` on, as a `tf.data.Dataset`.

        They are cut when they are read: they overlap.
        """
        import tensorflow as tf

        steps, window = tf.constant(self.steps), self.window
        starts = tf.data.Dataset.from_tensor_slices(self.starts_of(split)[start:])
        shape = (window, self.steps.shape[1])
        return starts.map(lambda start: {"image": tf.ensure_shape(steps[start : start + window], shape)})


def _array(path, columns):
    if columns is not None:
        raise ValueError(f"`columns` names columns of a table, and {str(path)!r} is an array. Leave it out.")
    try:
        steps = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} is not a NumPy file of numbers, or is not complete ({error}).") from error
    if steps.ndim not in (1, 2) or not steps.size or steps.dtype.kind not in "biuf":
        raise ValueError(
            "A series is an array of numbers of shape (steps,) or (steps, channels). Received: shape "
            f"{steps.shape} and dtype {steps.dtype} in {str(path)!r}."
        )
    steps = steps.astype("float32").reshape(len(steps), -1)
    bad = ~np.isfinite(steps)
    if bad.any():
        channels = ", ".join(f"{channel} ({int(count):,})" for channel, count in enumerate(bad.sum(axis=0)) if count)
        raise ValueError(
            f"Values of {str(path)!r} are missing (NaN) or infinite, counted by channel: {channels}. Fill or remove them."
        )
    return steps
