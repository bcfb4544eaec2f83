"""`metadata.json`: what a preset is, and the SHA-256 of every file in it, itself included."""

import hashlib
import json
import re
from pathlib import Path

METADATA = "metadata.json"
FORMAT = 1

_OWN_DIGEST = "metadata_sha256"
_BLANK = "0" * 64
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_metadata(directory, metadata):
    """Writes `metadata.json`, with the format and the SHA-256 of every other file of `directory`."""
    directory = Path(directory)
    files = {
        path.relative_to(directory).as_posix(): _sha256_of(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != METADATA
    }
    whole = {**metadata, "format": FORMAT, "files": files, _OWN_DIGEST: _BLANK}
    blank = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n"
    # The digest of the file is taken with zeros in its own place, which has a fixed width.
    (directory / METADATA).write_bytes(blank.replace(_BLANK, _sha256(blank.encode())).encode())


def read_metadata(directory, verify=True):
    """Reads `metadata.json`, after checking it and every file that it lists.

    Args:
        directory: The directory of a preset.
        verify: Whether to check the files that it lists as well as `metadata.json` itself.

    Returns:
        The metadata, a dictionary. `metadata_sha256` in it stands for the whole preset: it changes with any byte of any file.

    Raises:
        ValueError: A file is missing or does not have the SHA-256 that was recorded, with its name, what was expected and
            what was found; or the preset was written by a newer version of this package.
    """
    directory = Path(directory)
    path = directory / METADATA
    raw = path.read_bytes()
    try:
        metadata = json.loads(raw)
        version = metadata["format"]
        if version == FORMAT:
            digest, entries = metadata[_OWN_DIGEST], list(metadata["files"].items())
            found = _sha256(raw.replace(digest.encode(), _BLANK.encode(), 1))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"The preset file {str(path)!r} is damaged: it cannot be read as the metadata of a preset "
            f"({type(error).__name__}: {error}). Get the preset again."
        ) from error
    if version != FORMAT:  # before the digest, for another format may be sealed in another way
        raise ValueError(
            f"The preset {str(directory)!r} is of format {version!r}, says its {METADATA}, and this version of keras_sae reads "
            f"format {FORMAT}. Upgrade keras_sae; or get the preset again, if no later version wrote it."
        )
    if found != digest:
        raise ValueError(_damaged(path, digest, found))
    for name, expected in entries:
        if not (_NAME.fullmatch(name) and isinstance(expected, str) and _SHA256.fullmatch(expected)) or name == METADATA:
            raise ValueError(
                f"{str(path)!r} lists a file as {name!r}: {expected!r}. A preset lists its files by names inside its own "
                "directory, made of letters, digits, '_', '.', '-' and '/', each with a SHA-256 of 64 hexadecimal digits. "
                "Do not use this preset: `save_to_preset` writes no such name."
            )
    for name, expected in entries if verify else ():
        path = directory / name
        if not path.is_file():
            raise ValueError(f"The preset file {str(path)!r} is missing. Expected SHA-256: {expected}. Get the preset again.")
        found = _sha256_of(path)
        if found != expected:
            raise ValueError(_damaged(path, expected, found))
    return metadata


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path, expected, found):
    return (
        f"The preset file {str(path)!r} is damaged, or not the one that was published. Expected SHA-256: {expected}. "
        f"Found: {found}. Get the preset again."
    )
