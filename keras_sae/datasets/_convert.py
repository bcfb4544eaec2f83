"""Conversion of any data set to a file of arrays."""

import os
from pathlib import Path

import numpy as np

from keras_sae.datasets._load import load_arrays
from keras_sae.datasets._sources import find_source


def save_arrays(name, directory, data_dir=None, **options):
    """Writes a data set as one file of arrays, which machines without TensorFlow can read.

    There, `load_arrays(name, split, data_dir=directory)` reads the file.

    Args:
        name, data_dir, **options: As in `load_arrays`.
        directory: Folder to write `<name>.npz` to; of a path, `<name>` is the last part. The file
            holds `<split>_image` and `<split>_label` for every split.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        FileExistsError: The file exists. It is not overwritten.
    """
    path = Path(directory) / f"{Path(name).stem if Path(name).exists() else name}.npz"
    if path.exists():
        raise FileExistsError(f"{str(path)!r} exists and is not overwritten. Delete it, or choose another directory.")
    arrays = {}
    for split in find_source(name, data_dir, options)[0]:
        images, labels = load_arrays(name, split, data_dir, **options)
        arrays[f"{split}_image"] = images
        if labels is not None:
            arrays[f"{split}_label"] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
