"""The files of a preset, and `metadata.json`, which holds the SHA-256 of each file, itself included.

Text files are hashed with their line endings as "\\n", since git and editors convert them. The card is for people: loading does
not verify it, so that you can edit it.
"""

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
TEXT = (".json", ".md", ".txt")


def write_metadata(directory, metadata, names=None):
    """Writes `metadata.json`, with the format and the SHA-256 of the files `names`, or of every other file in `directory`."""
    directory = Path(directory)
    if names is None:
        found = (path for path in directory.rglob("*") if path.is_file() and path.name != METADATA)
        names = [path.relative_to(directory).as_posix() for path in found]
    files = {name: sha256_of(directory / name) for name in sorted(names)}
    whole = {**metadata, "format": FORMAT, "files": files, _OWN_DIGEST: _BLANK}
    blank = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n"
    # A file cannot contain its own digest, so the digest is computed with zeros in its place.
    (directory / METADATA).write_bytes(blank.replace(_BLANK, _sha256(blank.encode())).encode())


def write_lines(path, text):
    """Writes a text file in UTF-8, with the line endings of Unix on every system."""
    path.write_bytes(_unix_lines(text.encode()))


def read_metadata(directory, verify=True):
    """Reads `metadata.json`, and verifies it and every file that it lists, except the card.

    Args:
        directory: The directory of a preset.
        verify: Whether to verify the listed files. `metadata.json` itself is always verified. With `"card"`, the card is
            verified too.

    Returns:
        The metadata, a dictionary. Its `metadata_sha256` identifies the preset as it was saved: it is another one if any file
        has other content. Line endings of text files do not count.

    Raises:
        ValueError: A file is missing or its SHA-256 differs from the recorded one, or a newer version of this package wrote
            the preset.
    """
    directory = Path(directory)
    path = directory / METADATA
    metadata, digest, found = _parse(path)
    if found != digest:
        raise ValueError(
            f"{_damaged(path, digest, found)} If you edited it yourself, `keras-sae seal {directory}` makes it valid again."
        )
    _check_names(directory, metadata)
    for name, expected in metadata["files"].items() if verify else ():
        path = directory / name
        if name == CARD and verify != "card":
            continue
        if not path.is_file():
            raise ValueError(
                f"The preset file {str(path)!r} is missing. Expected SHA-256: {expected}. Download or copy it again."
            )
        if not is_unchanged(path, expected):
            raise ValueError(_damaged(path, expected, sha256_of(path)))
    return metadata


def read_unsealed(directory):
    """The metadata of a preset that somebody may have edited: its form is checked, but no digest."""
    metadata, _, _ = _parse(Path(directory) / METADATA)
    _check_names(Path(directory), metadata)
    return metadata


def _parse(path):
    """The metadata in a file, the digest that it states, and the digest that it has."""
    raw = _unix_lines(path.read_bytes())
    try:
        metadata = json.loads(raw)
        version = metadata["format"]
        if version == FORMAT:
            digest, _ = metadata[_OWN_DIGEST], metadata["files"].items()
            found = _sha256(raw.replace(digest.encode(), _BLANK.encode(), 1))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"The preset file {str(path)!r} is damaged: it cannot be read as metadata ({type(error).__name__}: {error}). "
            "Download or copy the preset again."
        ) from error
    if version != FORMAT:  # checked before the digest, which another format may compute in another way
        raise ValueError(
            f"The preset {str(path.parent)!r} is of format {version!r}, but this version of keras_sae reads format {FORMAT}. "
            f"Upgrade keras_sae. If no later version wrote the preset, its {METADATA} is damaged: download or copy it again."
        )
    return metadata, digest, found


def _check_names(directory, metadata):
    for name, expected in metadata["files"].items():
        if not (_NAME.fullmatch(name) and isinstance(expected, str) and _SHA256.fullmatch(expected)) or name == METADATA:
            raise ValueError(
                f"{str(directory / METADATA)!r} lists a file as {name!r}: {expected!r}. A preset lists its files by names "
                "inside its own directory, made of letters, digits, '_', '.', '-' and '/', each with a SHA-256 of 64 "
                "hexadecimal digits. Do not use this preset: `save_to_preset` never writes such an entry."
            )


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def sha256_of(path):
    """The SHA-256 of a file of a preset, for a text file with its line endings as they are on Unix."""
    if str(path).endswith(TEXT):
        return _sha256(_unix_lines(Path(path).read_bytes()))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_unchanged(path, expected):
    """Whether a file of a preset has this SHA-256. Earlier releases did not convert line endings."""
    return sha256_of(path) == expected or (str(path).endswith(TEXT) and _sha256(Path(path).read_bytes()) == expected)


def _unix_lines(data):
    return data.replace(b"\r\n", b"\n")


def _damaged(path, expected, found):
    return (
        f"The preset file {str(path)!r} is damaged, or not the one that was published. Expected SHA-256: {expected}. "
        f"Found: {found}. Download or copy the preset again."
    )
