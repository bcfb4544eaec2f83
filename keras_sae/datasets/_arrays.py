"""Data sets as arrays in one file, for machines without TensorFlow, which TensorFlow Datasets needs to read its own files."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from keras_sae.datasets._fashion_mnist_sample import FILE, SAMPLE


def save_arrays(name, directory, data_dir=None):
    """Writes a data set as arrays, to be read on machines without TensorFlow.

    There, `load_arrays(name, split, data_dir=directory)` reads the file.

    Args:
        name, data_dir: As in `load_arrays`.
        directory: Where `<name>.npz` is written: the arrays `<split>_image` and `<split>_label` of every split.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        FileExistsError: The file is there already.
    """
    from keras_sae.datasets._load import load_arrays
    from keras_sae.datasets._sources import find_source

    path = Path(directory) / f"{name}.npz"
    if path.exists():
        raise FileExistsError(f"{str(path)!r} exists and is not overwritten.")
    arrays = {}
    for split in find_source(name, data_dir)[0]:
        images, labels = load_arrays(name, split, data_dir)
        arrays[f"{split}_image"] = images
        if labels is not None:
            arrays[f"{split}_label"] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def has_tensorflow():
    """Whether TensorFlow is installed."""
    try:
        return importlib.util.find_spec("tensorflow") is not None
    except ValueError:  # it was imported in an unusual way, or kept from being imported
        return False


def read_arrays(name, split, data_dir=None):
    """The images and labels of a split, from the file that `save_arrays` wrote, or that the package ships.

    Raises:
        FileNotFoundError: There is no such file. The message says how to make it.
        ValueError: It has no such split.
    """
    path = file_of(name, data_dir)
    if not path.is_file():
        raise FileNotFoundError(
            f"Without TensorFlow, the data set {name!r} is read from {str(path)!r}, which is not there. On a machine with "
            f"TensorFlow, run `keras-sae arrays {name} DIR`, and copy the file here."
        )
    return read_file(path, split)


def file_of(name, data_dir=None):
    """Where a data set lies as arrays, if it does."""
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
        ValueError: It has no such split.
        OSError: It has not as many labels as images.
    """
    with np.load(path, allow_pickle=False) as arrays:
        stored = {key: arrays[key] for key in arrays.files}
    counts = {name: len(stored[f"{name}_image"]) for name in _splits(stored)}
    for name, count in counts.items():
        if len(stored.get(f"{name}_label", range(count))) != count:
            raise OSError(f"{str(path)!r} has {count} of {name}_image and {len(stored[f'{name}_label'])} of {name}_label.")
    try:
        chosen = parts(split, counts)
    except (ValueError, KeyError, AssertionError) as error:
        raise ValueError(
            f"{path.stem!r} has no split {split!r}. Its splits are {list(counts)}, and parts are written as in 'train[:10%]' "
            "or 'train[:1000]'."
        ) from error
    images = np.concatenate([stored[f"{name}_image"][rows] for name, rows in chosen])
    labelled = all(f"{name}_label" in stored for name, _ in chosen)
    return images, np.concatenate([stored[f"{name}_label"][rows] for name, rows in chosen]) if labelled else None


def parts(split, counts):
    """What a split stands for, as TFDS reads it.

    Args:
        split: `"train"`, `"test[:10%]"`, `"train[:1000]+test"`.
        counts: Dictionary from the names of splits to the number of their examples.

    Returns:
        List of pairs of such a name and a slice of its examples.
    """
    import tensorflow_datasets as tfds

    splits = {name: tfds.core.SplitInfo(name=name, shard_lengths=[count], num_bytes=0) for name, count in counts.items()}
    chosen = tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
    return [(part.splitname, slice(part.from_, part.to)) for part in chosen]
