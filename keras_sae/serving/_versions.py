"""The folders that TF Serving reads: `directory/1`, `directory/2`, ..., each written whole or not at all."""

import contextlib
import os
import re
import tempfile
from pathlib import Path


def version_of(folder):
    """The version in a folder of this name, or None. Like TF Serving, it reads a number: that of `001` is 1."""
    return int(folder.name) if re.fullmatch("[0-9]+", folder.name) else None


def folders_in(directory):
    """The folders of the versions in a directory, by version, ascending.

    If two folders have the same number, TF Serving loads the last one in alphabetical order, and so does this.
    """
    if not Path(directory).is_dir():
        return {}
    folders = {version_of(path): path for path in sorted(Path(directory).iterdir())}
    folders.pop(None, None)
    return dict(sorted(folders.items()))


def versions_in(directory):
    return list(folders_in(directory))


def check_path(directory):
    """Raises ValueError if TensorFlow could not load a model from this path."""
    special = sorted(set("*?[\\") & set(str(Path(directory).resolve()))) if os.name == "posix" else []
    if special:
        raise ValueError(
            f"TensorFlow reads {' '.join(special)} in a path as a pattern, and cannot load a model from "
            f"{str(Path(directory).resolve())!r}. Choose a path without {' '.join(special)}."
        )


def refuse_existing(directory, version):
    folder = None if version is None else folders_in(directory).get(version, directory / str(version))
    if folder is not None and folder.exists():
        raise FileExistsError(
            f"{str(folder)!r} exists, and an existing version is never overwritten. "
            "Choose another `version`, or leave it out to get the next free number."
        )


@contextlib.contextmanager
def temporary_folder(directory):
    """A temporary folder inside `directory`, which is created if needed and removed again if the export fails.

    TF Serving ignores it, because its name is not a number.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".export-", dir=directory)
    except OSError as error:
        raise type(error)(
            f"`directory` is the folder for the exported versions, and {str(directory)!r} cannot be written to: {error}"
        ) from error
    try:
        with temporary as name:
            yield Path(name)
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # not empty: another export has written there
                path.rmdir()
        raise


def move_version(draft, directory, version):
    """Moves a finished version into `directory` and returns its number."""
    while True:
        number = version if version is not None else max([0, *versions_in(directory)]) + 1
        refuse_existing(directory, version)
        try:
            os.rename(draft, directory / str(number))
            return number
        except OSError:
            if not (directory / str(number)).exists():
                raise
            # Another export has just taken this number. `os.rename` never replaces a folder that is not empty.
