"""Presets at an address: downloaded next to the cache, verified, and moved into it when complete."""

import contextlib
import hashlib
import http.client
import os
import re
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from keras_sae._backend import load_keras
from keras_sae.presets import _hub
from keras_sae.presets._manifest import CARD, METADATA, TEXT, read_metadata

LARGEST = 8 * 2**30  # bytes of a preset
LARGEST_METADATA = 2**20

_PIN = re.compile(r"sha256=([0-9a-f]{64})")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SECONDS = 60  # how long a server may take to answer


def fetch(preset):
    """The local directory of the preset at an address, verified. Downloads the preset if it is not in the cache.

    The cache is `keras_sae/presets` in the directory of Keras: the environment variable `KERAS_HOME`, or `~/.keras`. Processes
    that need the same preset at the same time each download it. The first one to finish moves the complete directory into
    place. A damaged cache entry is downloaded again.

    Args:
        preset: `"https://host/path"`, a directory that `save_to_preset` wrote, served file by file; or
            `"hf://owner/repository"`, where `/folder` and `@revision` may follow. If `#sha256=` and 64 digits follow, only the
            preset with that `metadata_sha256` is accepted.

    Raises:
        ValueError: The address has another form, or there is no complete preset at it, or not the pinned one.
        ConnectionError: The preset cannot be downloaded.
        OSError: The cache cannot be written.
    """
    address, _, fragment = str(preset).partition("#")
    address = address.rstrip("/")
    pin = _PIN.fullmatch(fragment)
    if fragment and not pin:
        raise ValueError(
            "After `#`, the address of a preset can pin its content: `sha256=` and the 64 digits of `metadata_sha256` in its "
            f"{METADATA}. Received: {fragment!r}."
        )
    pin = pin and pin[1]
    if address.startswith("hf://"):
        return _hub.fetch(address, lambda directory: _check(directory, pin))
    _check_address(address)
    entry = _cache() / hashlib.sha256(f"{address}#{pin}".encode()).hexdigest()
    try:
        return _check(entry, pin)
    except (ValueError, OSError) as error:
        damage = error if entry.exists() else None
    try:
        return _fetch(address, entry, pin)
    except (ValueError, OSError) as error:
        if damage:
            raise type(error)(f"{error} It was downloaded again because its copy in the cache is damaged: {damage}") from error
        raise


def _fetch(address, entry, pin):
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(prefix=".fetching-", dir=entry.parent)
    except OSError as error:
        raise OSError(
            f"Downloaded presets are kept in {str(entry.parent)!r}, which is not writable ({error.strerror}). Set the "
            "environment variable KERAS_HOME to a writable directory, or download the preset yourself and load its directory."
        ) from error
    with beside as name:
        draft = Path(name) / "preset"
        draft.mkdir()
        _download(f"{address}/{METADATA}", draft / METADATA, LARGEST_METADATA)
        try:
            left = LARGEST
            for file, digest in read_metadata(draft, verify=False)["files"].items():
                left -= _download_file(f"{address}/{file}", draft / file, left, None if file == CARD else digest)
            _check(draft, pin)
        except ValueError as error:
            raise ValueError(f"There is no complete preset at {address}. {error}") from error
        return _move(draft, entry, pin)


def _download_file(url, path, largest, digest):
    """Downloads a file with its digest. Texts may have other line endings, so these are verified once they are here."""
    try:
        return _download(url, path, largest, digest)
    except ValueError:
        if not path.name.endswith(TEXT):
            raise
        return _download(url, path, largest)


def _download(url, path, largest, digest=None):
    """Downloads one file and returns its size."""
    try:
        # The downloader of Keras has no limits, so the address after redirects and the size are checked first.
        with urllib.request.urlopen(url, timeout=_SECONDS) as response:
            final, length = response.url, response.headers.get("Content-Length", "")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{url} cannot be downloaded: {error}. Check the address and the network.") from error
    if not _secure(final):
        raise ConnectionError(f"{url} is not downloaded: it redirects to {final}. Presets do not leave https.")
    if not length.isdecimal() or int(length) > largest:
        raise ConnectionError(
            f"{url} is not downloaded: the server states its size as {length or 'unknown'}, but at most {largest:,} bytes are "
            f"accepted. {METADATA} may have {LARGEST_METADATA:,} bytes, and a whole preset {LARGEST:,}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    keras = load_keras()
    try:
        keras.utils.get_file(
            path.name,
            url,
            file_hash=digest,
            hash_algorithm="sha256",
            cache_dir=path.parent,
            cache_subdir="",
            force_download=True,
        )
    except ValueError as error:
        raise ValueError(
            f"{url} is damaged, or not the file that was published. Expected SHA-256: {digest}. {error}"
        ) from error
    except Exception as error:  # what get_file raises
        raise ConnectionError(f"{url} cannot be downloaded: {error}") from error
    return path.stat().st_size


def _move(draft, entry, pin):
    """Moves a verified draft into the cache, unless another process was first."""
    for turn in range(8):
        try:
            os.replace(draft, entry)
            return entry
        except OSError as error:  # something is there already
            failure = error
        with contextlib.suppress(ValueError, OSError):
            return _check(entry, pin)
        with contextlib.suppress(OSError):
            os.replace(entry, draft.parent / f"damaged-{turn}")
    raise failure


def _check(directory, pin):
    """Verifies all files of a preset, and that it is the pinned one, to its card."""
    found = read_metadata(directory, verify="card" if pin else True)["metadata_sha256"]
    if pin and found != pin:
        raise ValueError(
            f"The preset in {str(directory)!r} is not the one that the address pins. Expected metadata_sha256: {pin}. "
            f"Found: {found}. Ask whoever gave you the address, or remove the pin to accept what is there now."
        )
    return directory


def _secure(url):
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _check_address(address):
    try:
        parts = urlsplit(address)
        plain = _secure(address) and parts.hostname and not parts.query and "@" not in parts.netloc
    except ValueError:
        plain = False
    if not plain or not re.fullmatch(r"[!-~]+", address):
        raise ValueError(
            "A preset is loaded from `https://host/path`, without a user, a query or spaces, or from "
            "`hf://owner/repository/folder@revision`. http:// is accepted only from this machine, for tests. "
            f"Received: {address!r}."
        )


def _cache():
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras_sae" / "presets"
