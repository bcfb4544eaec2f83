"""Reads data for a saved model as the model was trained on it: a folder, a table, a series, or an array of inputs."""

import sys
from pathlib import Path

import numpy as np

from keras_sae._nouns import noun_of
from keras_sae.datasets import Folder, Series, Table

BATCH = 256


class Inputs:
    """Data at a path, read as a preset's model reads it.

    Args:
        path: A folder of images, a table, a series, or a `.npy` array of inputs.
        metadata: The metadata of the preset.

    Attributes:
        noun: What a sample is called.
        key, names: What identifies a sample ("file", "row", ...), and a list of that for all samples.
        columns: The names of the columns of a table, or None.

    Raises:
        ValueError, OSError: The data cannot be read, or does not fit the model. The message says why.
    """

    def __init__(self, path, metadata):
        self.path = Path(path).expanduser()
        self.shape = tuple(metadata["input_shape"])
        self._data = metadata.get("data", {})
        self.columns = None
        if not self.path.exists():
            raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
        self._open()
        self.noun = noun_of(self.shape, {**self._data, "name": str(path)})

    def dataset(self, start=0):
        """The inputs from the one of number `start` on, as `AnomalyDetector` takes them: an array, or a data set of batches."""
        if isinstance(self._opened, np.ndarray):
            return self._opened[start:]
        return self._opened.dataset(self._split, start).map(lambda example: example["image"]).batch(BATCH).prefetch(1)

    def batches(self, start=0):
        """Arrays of inputs, in order."""
        data = self.dataset(start)
        if isinstance(data, np.ndarray):
            yield from (data[first : first + BATCH] for first in range(0, len(data), BATCH))
        elif start < len(self):
            yield from data.as_numpy_iterator()

    def in_steps(self, what, start=0):
        """Pairs of names and inputs, in batches. Shows progress to people."""
        for batch in self.batches(start):
            yield self.names[start : start + len(batch)], batch
            start += len(batch)
            if sys.stderr.isatty():
                end = "" if start < len(self) else "\n"
                print(f"\r{what}: {start:,} of {len(self):,} {self.noun}s", end=end, file=sys.stderr, flush=True)

    def stamp(self):
        """A text that changes when the data does."""
        files = [self.path / name for name in self.names] if self.key == "file" else [self.path]
        stats = [(str(file.resolve()), stat.st_mtime_ns, stat.st_size) for file in files for stat in [file.stat()]]
        return f"{stats}"

    def __len__(self):
        return len(self.names)

    def _open(self):
        if self.path.is_dir():
            self._open_folder()
        elif "window" in self._data:
            self._open_series()
        elif self.path.suffix.lower() == ".npy":
            self._opened = _array(self.path)
            self._check_shape(self._opened.shape)
            self.key, self.names = "sample", list(range(len(self._opened)))
        else:
            table = Table(self.path, columns=self._data.get("columns"))
            self._opened, self.columns = table.rows, table.columns
            self._check_shape(self._opened.shape)
            self.key, self.names = "row", list(range(len(self._opened)))

    def _open_folder(self):
        if len(self.shape) != 3 or self.shape[-1] not in (1, 3):
            raise ValueError(f"The model reads inputs of shape {self.shape}, and {str(self.path)!r} is a folder of images.")
        color_mode = "grayscale" if self.shape[-1] == 1 else "rgb"
        folder = Folder(self.path, self.shape[:2], self._data.get("resize", "stretch"), color_mode)
        if "image_size" not in self._data:
            for size, file in folder.sizes.items():
                if size != self.shape[:2]:
                    raise ValueError(
                        f"The model was trained on images of {self.shape[0]} x {self.shape[1]} pixels (height x width), "
                        f"without resizing, and {file!r} in {str(self.path)!r} has {size[0]} x {size[1]}. Resize the "
                        f"images, or train the model with data.image_size = [{self.shape[0]}, {self.shape[1]}]."
                    )
        self._opened, self._split = folder, "+".join(folder.counts)
        self.key, self.names = "file", folder.files(self._split)[0]

    def _open_series(self):
        options = {key: self._data[key] for key in ("window", "stride") if key in self._data}
        is_array = self.path.suffix.lower() == ".npy"
        self._opened, self._split = (
            Series(self.path, columns=None if is_array else self._data.get("columns"), **options),
            "train",
        )
        self._check_shape((1, self._opened.window, self._opened.steps.shape[1]))
        self.key, self.names = "first_step", self._opened.starts_of("train").tolist()

    def _check_shape(self, shape):
        if tuple(shape[1:]) != self.shape or shape[0] == 0:
            raise ValueError(
                f"The model reads inputs of shape (n, {', '.join(map(str, self.shape))}), with n at least 1. Received: shape "
                f"{tuple(shape)} from {str(self.path)!r}."
            )


def _array(path):
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} is not a NumPy file of numbers, or is not complete ({error}).") from error
