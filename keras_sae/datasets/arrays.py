"""Data sets as arrays in one file, for machines without TensorFlow, which TensorFlow Datasets needs to read its own files."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np

_PART = re.compile(r"(?P<name>\w+)(\[(?P<begin>-?\d+%?)?:(?P<end>-?\d+%?)?\])?")


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
    from keras_sae.datasets.catalog import find_source
    from keras_sae.datasets.pipeline import load_arrays

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
    """The images and labels of a split, from the file that `save_arrays` wrote.

    Raises:
        FileNotFoundError: There is no such file. The message says how to make it.
        ValueError: It has no such split.
    """
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"Without TensorFlow, the data set {name!r} is read from {str(path)!r}, which is not there. On a machine with "
            f"TensorFlow, run `keras-sae arrays {name} DIR`, and copy the file here."
        )
    with np.load(path, allow_pickle=False) as arrays:
        splits = [key.removesuffix("_image") for key in arrays.files if key.endswith("_image")]
        images, labels = [], []
        for part in split.split("+"):
            match = _PART.fullmatch(part.strip())
            if match is None or match["name"] not in splits:
                raise ValueError(
                    f"{name!r} has no split {part!r}. Its splits are {splits}, and parts are written as in 'train[:10%]' "
                    "or 'train[:1000]'."
                )
            image = arrays[f"{match['name']}_image"]
            rows = slice(*(_row(match[end], len(image)) for end in ("begin", "end")))
            images.append(image[rows])
            if f"{match['name']}_label" in arrays.files:
                labels.append(arrays[f"{match['name']}_label"][rows])
    return np.concatenate(images), np.concatenate(labels) if labels else None


def _row(text, count):
    """The row that an end of a part stands for: a number, or a share in percent, rounded as TFDS does."""
    if not text:
        return None
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)
