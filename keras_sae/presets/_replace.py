"""Replaces a preset by a new one in the same directory. Everything that the package did not write stays there."""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path

from keras_sae.presets._manifest import (
    CARD,
    CONFIG,
    METADATA,
    WEIGHTS,
    is_unchanged,
    read_metadata,
    read_unsealed,
    sha256_of,
    write_lines,
    write_metadata,
)

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None


def rewrite(directory, metadata, card):
    """Replaces the metadata and the card of a preset. Its other files stay unchanged.

    Args:
        card: Function from the metadata to the text of the card.
    """
    directory = Path(directory).resolve()
    names = set(read_metadata(directory)["files"]) - {CARD}  # a damaged file must not get a valid checksum
    _write_again(directory, metadata, names, card(metadata))


def seal(directory):
    """Makes a preset valid again after you edited its card or `metadata.json`.

    Records the card as it is now, and computes the digest of the metadata. The preset gets a new `metadata_sha256`.

    Args:
        directory: The directory of a preset.

    Returns:
        The new `metadata_sha256`.

    Raises:
        ValueError: The directory is not a preset, or its `metadata.json` cannot be read, or another file differs from the
            recorded one: what is damaged is not made valid. Save a changed model with `save_to_preset`.
    """
    directory = Path(directory).expanduser().resolve()
    if not (directory / METADATA).is_file():
        raise ValueError(f"The directory {str(directory)!r} is not a preset: it has no {METADATA}.")
    metadata = read_unsealed(directory)
    names = set(metadata["files"]) - {CARD}
    for name in sorted(names | {CONFIG, WEIGHTS}):
        path = directory / name
        if name not in names or not path.is_file() or not is_unchanged(path, metadata["files"][name]):
            raise ValueError(
                f"The preset {str(directory)!r} is not sealed: its file {name!r} is missing, or not the one that was saved. "
                f"Only {CARD} and {METADATA} may be edited. Copy the file again, or save a changed model with `save_to_preset`."
            )
    card = directory / CARD
    _write_again(directory, metadata, names, card.read_text(encoding="utf-8") if card.is_file() else None)
    return read_metadata(directory)["metadata_sha256"]


def add_files(directory, metadata, files):
    """Adds files to a preset, or replaces earlier ones of the same names. Its other files stay unchanged.

    Args:
        metadata: Dictionary of what is added to its metadata.
        files: Dictionary from names to content as bytes.
    """
    directory = Path(directory).resolve()
    recorded = read_metadata(directory)
    names = set(recorded["files"]) - {CARD, *files}
    card = directory / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    _write_again(directory, {**recorded, **metadata}, names, text, files)


def _write_again(directory, metadata, names, card, files=None):
    with replacing(directory) as draft:
        for name, content in (files or {}).items():
            (draft / name).write_bytes(content)
        for name in names:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(directory / name, draft / name)
        if card is not None:
            write_lines(draft / CARD, card)
        write_metadata(draft, metadata)


def others(directory):
    """The files of a directory that no save replaces: paths relative to it. Among them is a card that was edited.

    Raises:
        FileExistsError: The directory exists and is neither empty nor a preset.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return set()
    try:
        listed = read_unsealed(directory)["files"]
    except (ValueError, OSError) as error:
        damaged = f" Its {METADATA} does not say which files belong to one: {error}" if (directory / METADATA).is_file() else ""
        raise FileExistsError(
            f"{str(directory)!r} exists, is not a preset, and is not replaced. Choose another directory, or empty this one."
            + damaged
        ) from error
    own = {METADATA, *listed}
    if CARD in own and (directory / CARD).is_file() and not is_unchanged(directory / CARD, listed[CARD]):
        own.remove(CARD)
    return _entries(directory) - set(map(Path, own))


def _entries(directory):
    """Every file, link and empty folder in a directory, relative to it."""

    def fail(error):
        raise error  # what cannot be read cannot be kept

    found = set()
    for folder, folders, names in os.walk(directory, onerror=fail):
        relative = Path(folder).relative_to(directory)
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found.update(relative / name for name in (*names, *links))
        if not (folders or names):
            found.add(relative)
    return found


@contextlib.contextmanager
def replacing(directory):
    """Yields a new directory. At the end of the block, it takes the place of the preset in `directory`, an absolute path.

    What the package did not write is in the new directory too. If anything fails, the earlier preset stays.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    draft, earlier = beside / "new", beside / "earlier"
    try:
        draft.mkdir()
        yield draft
        with _one_at_a_time(directory.parent):
            _keep_others(directory, draft)
            if not (directory.exists() and _exchange(draft, directory)):
                if directory.exists():
                    os.replace(directory, earlier)
                os.replace(draft, directory)
    except BaseException as error:
        if earlier.exists():
            os.replace(earlier, directory)  # if this fails too, the earlier preset stays in the temporary directory
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)):
            raise OSError(
                f"The preset could not be written to {str(directory)!r}: {error}. What was there stays: free some space, "
                "and save or publish again."
            ) from error
        raise
    shutil.rmtree(beside, ignore_errors=True)


def _keep_others(directory, draft):
    """Puts what the package did not write into the new directory: links where the file system has them, or else copies."""
    folders = set()
    for path in sorted(others(directory)):
        source, target = directory / path, draft / path
        folders.update(path.parents)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            folders.add(path)
            continue
        if os.path.lexists(target):
            if path != Path(CARD):
                raise FileExistsError(
                    f"The new preset has a file {path.as_posix()!r}, but {str(source)!r} was not written by this package and "
                    "is not replaced. Rename it, or choose another directory."
                )
            if sha256_of(target) == sha256_of(source):
                continue
            target = draft / f"{Path(CARD).stem}.{sha256_of(source)[:8]}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(source, target, follow_symlinks=False)
    for folder in folders:
        shutil.copymode(directory / folder, draft / folder)


def _exchange(one, other):
    """Swaps two directories in one step. Returns whether it did: only Linux can, and not on every file system."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <linux/fs.h>
    return swap is not None and swap(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


@contextlib.contextmanager
def _one_at_a_time(folder):
    """Lets one process at a time replace presets in a folder, where the file system has locks."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
