"""Data sets in a file of arrays, `<name>.npz`. Reading one does not need TensorFlow."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from keras_sae.datasets._fashion_mnist_sample import FILE, SAMPLE
from keras_sae.datasets._splits import parts, unknown_split


def has_tensorflow():
    """Whether TensorFlow is installed."""
    try:
        return importlib.util.find_spec("tensorflow") is not None
    except ValueError:  # a module without a spec stands for it, or its import is blocked
        return False


def read_arrays(name, split, data_dir=None):
    """The images and labels of a split, from the file of arrays of a data set.

    Raises:
        FileNotFoundError: There is no such file. The message says how to make it.
        ValueError: The file has no such split.
    """
    path = file_of(name, data_dir)
    if not path.is_file():
        raise FileNotFoundError(
            f"Without TensorFlow, the data set {name!r} is read from the file {str(path)!r}, which does not exist. On a "
            f"machine with TensorFlow, run `keras-sae arrays {name} DIR`, and copy the file here."
        )
    return read_file(path, split)


def file_of(name, data_dir=None):
    """Path of the file of arrays of a data set, whether or not it exists."""
    if name == SAMPLE:
        return FILE
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    return folder / f"{name}.npz"


def splits_of(path):
    """Names of the splits in a file of arrays."""
    with np.load(path, allow_pickle=False) as arrays:
        return _splits(arrays.files)


def _splits(keys):
    return [key.removesuffix("_image") for key in keys if key.endswith("_image")]


def read_file(path, split):
    """The images of a split, and its labels or None, from a file of arrays.

    Raises:
        ValueError: The file has no such split.
        OSError: The numbers of images and labels differ.
    """
    with np.load(path, allow_pickle=False) as arrays:
        stored = {key: arrays[key] for key in arrays.files}
    counts = {name: len(stored[f"{name}_image"]) for name in _splits(stored)}
    for name, count in counts.items():
        labels = len(stored.get(f"{name}_label", range(count)))
        if labels != count:
            raise OSError(
                f"Each image needs one label, and {str(path)!r} has {count} of {name}_image and {labels} of {name}_label."
            )
    try:
        chosen = parts(split, counts)
    except (ValueError, KeyError, AssertionError) as error:
        raise unknown_split(path.stem, split, counts) from error
    images = np.concatenate([stored[f"{name}_image"][rows] for name, rows in chosen])
    labelled = all(f"{name}_label" in stored for name, _ in chosen)
    return images, np.concatenate([stored[f"{name}_label"][rows] for name, rows in chosen]) if labelled else None
