"""The files of a preset, and `metadata.json`, which holds the SHA-256 of each file, itself included."""

import hashlib
import json
import re
from pathlib import Path

METADATA = "metadata.json"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
REFERENCE = "reference.npz"
CARD = "README.md"
FORMAT = 1

_OWN_DIGEST = "metadata_sha256"
_BLANK = "0" * 64
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_metadata(directory, metadata):
    """Writes `metadata.json`, with the format and the SHA-256 of every other file in `directory`."""
    directory = Path(directory)
    files = {
        path.relative_to(directory).as_posix(): _sha256_of(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != METADATA
    }
    whole = {**metadata, "format": FORMAT, "files": files, _OWN_DIGEST: _BLANK}
    blank = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n"
    # A file cannot contain its own digest, so the digest is computed with zeros in its place.
    (directory / METADATA).write_bytes(blank.replace(_BLANK, _sha256(blank.encode())).encode())


def read_metadata(directory, verify=True):
    """Reads `metadata.json`, and verifies it and every file that it lists.

    Args:
        directory: The directory of a preset.
        verify: Whether to verify the listed files. `metadata.json` itself is always verified.

    Returns:
        The metadata, a dictionary. Its `metadata_sha256` identifies the whole preset: it changes with any byte of any file.

    Raises:
        ValueError: A file is missing or its SHA-256 differs from the recorded one, or a newer version of this package wrote
            the preset.
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
            f"The preset file {str(path)!r} is damaged: it cannot be read as metadata ({type(error).__name__}: {error}). "
            "Download or copy the preset again."
        ) from error
    if version != FORMAT:  # checked before the digest, which another format may compute in another way
        raise ValueError(
            f"The preset {str(directory)!r} is of format {version!r}, but this version of keras_sae reads format {FORMAT}. "
            f"Upgrade keras_sae. If no later version wrote the preset, its {METADATA} is damaged: download or copy it again."
        )
    if found != digest:
        raise ValueError(_damaged(path, digest, found))
    for name, expected in entries:
        if not (_NAME.fullmatch(name) and isinstance(expected, str) and _SHA256.fullmatch(expected)) or name == METADATA:
            raise ValueError(
                f"{str(path)!r} lists a file as {name!r}: {expected!r}. A preset lists its files by names inside its own "
                "directory, made of letters, digits, '_', '.', '-' and '/', each with a SHA-256 of 64 hexadecimal digits. "
                "Do not use this preset: `save_to_preset` never writes such an entry."
            )
    for name, expected in entries if verify else ():
        path = directory / name
        if not path.is_file():
            raise ValueError(
                f"The preset file {str(path)!r} is missing. Expected SHA-256: {expected}. Download or copy it again."
            )
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
        f"Found: {found}. Download or copy the preset again."
    )
