"""The folders that TF Serving reads: `directory/1`, `directory/2`, ..., each written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path


def versions_in(directory):
    """The versions in a folder, ascending: like TF Serving, every subfolder whose name is a number."""
    if not Path(directory).is_dir():
        return []
    return sorted(int(path.name) for path in Path(directory).iterdir() if path.name.isdecimal())


def refuse_existing(directory, version):
    if version is not None and (directory / str(version)).exists():
        raise FileExistsError(
            f"{str(directory / str(version))!r} exists, and an existing version is never overwritten. "
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
