"""Which paths are data of a user. Loads nothing, so that the command line can tell data from recipes at once."""

from pathlib import Path

TABLES = (".csv", ".parquet")
ARRAYS = (".npy", ".npz")


def is_data(path):
    """Whether a path is an existing folder, or has the suffix of a table or an array."""
    path = Path(path).expanduser()
    return path.is_dir() or path.suffix.lower() in TABLES + ARRAYS
