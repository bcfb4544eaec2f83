"""Data sets in a file of arrays, `<name>.npz`. Reading one does not need TensorFlow."""

import importlib.util
import os
import zipfile
from pathlib import Path

import numpy as np

from keras_sae.datasets import _fashion_mnist_sample, _wordnet_glosses_sample
from keras_sae.datasets._splits import examples_of

# The files that the package ships, by the names of their data sets.
SHIPPED = {
    _fashion_mnist_sample.SAMPLE: _fashion_mnist_sample.FILE,
    _wordnet_glosses_sample.GLOSSES_SAMPLE: _wordnet_glosses_sample.FILE,
}


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
    if name in SHIPPED:
        return SHIPPED[name]
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    return folder / f"{name}.npz"


def splits_of(path):
    """Names of the splits in a file of arrays."""
    return list(_counts(path, _content(path)))


def read_file(path, split):
    """The images of a split, and its labels or None, from a file of arrays.

    Raises:
        ValueError: The file is damaged or no file of images, or has no such split.
        OSError: The numbers of images and labels differ.
    """
    stored = _content(path)
    counts = _counts(path, stored)
    for name, count in counts.items():
        labels = len(stored.get(f"{name}_label", range(count)))
        if labels != count:
            raise OSError(
                f"Each image needs one label, and {str(path)!r} has {count} of {name}_image and {labels} of {name}_label."
            )
    chosen = examples_of(path.stem, split, counts)
    images = np.concatenate([stored[f"{name}_image"][rows] for name, rows in chosen])
    labelled = all(f"{name}_label" in stored for name, _ in chosen)
    return images, np.concatenate([stored[f"{name}_label"][rows] for name, rows in chosen]) if labelled else None


def load_texts(name, split, data_dir=None):
    """The texts that the vectors of a data set stand for, a list of strings in the order of `load_arrays`.

    Args:
        name: `"wordnet_glosses_sample"`, or the name of a file of arrays, `<data_dir>/<name>.npz`, that has the key
            `train_text`, and the same for other splits: the UTF-8 bytes of a line for each vector, an array of uint8.
        split, data_dir: As in `load_arrays`.

    Example:

    >>> load_texts("wordnet_glosses_sample", "test[:2]")
    ['of or relating to fatalism', 'the act of putting something in position']
    """
    path = file_of(name, data_dir)
    stored = _content(path) if path.is_file() else {}
    texts = {
        key.removesuffix("_text"): bytes(each).decode().split("\n") for key, each in stored.items() if key.endswith("_text")
    }
    if not texts:
        raise ValueError(f"The data set {name!r} has no texts. One that has is {_wordnet_glosses_sample.GLOSSES_SAMPLE!r}.")
    chosen = examples_of(name, split, {part: len(each) for part, each in texts.items()})
    return [text for part, rows in chosen for text in texts[part][rows]]


def _content(path):
    """The arrays of a file by their keys."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{str(path)!r} is not a file of arrays, or is not complete. Write it by numpy.savez(path, train_image=..., "
            "test_image=...), or copy it again."
        )
    stored, key = {}, None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                stored[key] = arrays[key]
    except OSError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise many types for damaged bytes
        if "Object arrays" in str(error):
            raise ValueError(
                f"The array {key!r} in {str(path)!r} holds Python objects, not numbers. All images need the same shape: stack "
                "them into one array of floats or uint8 by numpy.stack. Labels are integers."
            ) from error
        raise ValueError(f"{str(path)!r} is damaged at {key!r} ({error}). Copy it again, or write it again.") from error
    return stored


def _counts(path, stored):
    """The number of images of each split."""
    splits = [key.removesuffix("_image") for key in stored if key.endswith("_image")]
    if not splits:
        raise ValueError(
            f"{str(path)!r} has no images: its keys are {list(stored)}. The images of a split 'train' have the key "
            "'train_image', and its labels 'train_label'. Write them so: numpy.savez(path, train_image=x_train, "
            "train_label=y_train, test_image=x_test, test_label=y_test)."
        )
    for key in stored:
        if key.endswith("_image") and (stored[key].ndim < 2 or stored[key].dtype.kind not in "biuf"):
            raise ValueError(
                f"Images are arrays of numbers of shape (n, ...). Received: {key!r} of shape {stored[key].shape} and dtype "
                f"{stored[key].dtype} in {str(path)!r}."
            )
        if key.endswith("_label") and stored[key].ndim < 1:
            raise ValueError(f"Labels are arrays of shape (n,). Received: {key!r}, a single value, in {str(path)!r}.")
    return {name: len(stored[f"{name}_image"]) for name in splits}
