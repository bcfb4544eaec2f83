"""Finds a user's own data by its path: folders of images, tables, series, vectors."""

import os
from pathlib import Path

from keras_sae._checks import nearest
from keras_sae._data_files import ARRAYS, TABLES
from keras_sae.datasets import _folder, _series, _table, _vectors
from keras_sae.datasets._fashion_mnist_sample import SAMPLE

# For each kind of data, the keys of a recipe's [data] that say how to read it.
_OPTIONS = {
    "folder of images": _folder.OPTIONS,
    "table": _table.OPTIONS,
    "series": _series.OPTIONS,
    "file of vectors": _vectors.OPTIONS,
}
OPTIONS = tuple(dict.fromkeys(option for options in _OPTIONS.values() for option in options))


def path_of(name, data_dir=None):
    """The path that a name of a data set stands for, or None where it is a name of another kind.

    A relative path starts at the current directory, or else at `data_dir`.

    Raises:
        FileNotFoundError: The name can only be a path, and nothing is there.
    """
    path = Path(name).expanduser()
    is_file = path.suffix.lower() in TABLES + ARRAYS
    if is_file or path.is_absolute() or str(name).startswith((".", "~")):
        for each in (path, Path(data_dir).expanduser() / path if data_dir else path):
            if each.exists():
                return each
        raise FileNotFoundError(
            f"There is no {'file' if is_file else 'folder'} {str(name)!r}"
            f"{f', neither here nor in {str(data_dir)!r}' if data_dir else ''}. The current directory is {os.getcwd()!r}."
        )
    return path if len(path.parts) > 1 and path.exists() else None


def bare_path_of(name, data_dir=None):
    """The folder of this name here or in `data_dir`, or None. Names of data sets come first."""
    for each in (Path(), Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()):
        if (each / name).is_dir():
            return each / name
    return None


def open_path(path, **options):
    """The data set at a path: an object with `counts`, the examples in each split, and `dataset(split)`.

    Raises:
        ValueError: The data cannot be read, or an option does not suit it. The message says what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        kind, make = "folder of images", _folder.Folder
    elif path.suffix.lower() not in TABLES + ARRAYS:
        raise ValueError(
            f"Data is a folder of images, a table ({', '.join(TABLES)}), or an array ({', '.join(ARRAYS)}) of vectors or of a "
            f"series. Received: the file {str(path)!r}."
        )
    elif "window" in options:
        kind, make = "series", _series.Series
    elif path.suffix.lower() in ARRAYS:
        kind, make = "file of vectors", _vectors.Vectors
    else:
        kind, make = "table", _table.Table
    for option in options:
        if option not in _OPTIONS[kind]:
            raise ValueError(
                f"{option!r} does not apply to a {kind}, such as {str(path)!r}. {nearest(option, _OPTIONS[kind])}"
                f"What applies: {', '.join(_OPTIONS[kind]) or 'nothing; a series has a window'}."
            )
    return make(path, **options)


def described(name, data_dir=None, **options):
    """What is known of a user's own data, for the metadata of a preset: names of columns and classes. Empty for other data."""
    path = path_of(name, data_dir)
    if path is None:
        return {}
    opened = open_path(path, **options)
    return {key: list(value) for key in ("columns", "class_names") if (value := getattr(opened, key, None))}


def check_no_options(name, options):
    """Raises ValueError where options of folders and tables are given for another data set."""
    for option in options or {}:
        raise ValueError(
            f"{option!r} says how to read a folder of images, a table or a series, and {name!r} is none. Remove it, or write "
            f"the path of a folder as './{name}'." + (f" {SAMPLE!r} comes with this package." if name == SAMPLE else "")
        )
