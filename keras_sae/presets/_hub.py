"""Presets on the Hugging Face Hub, through the package huggingface_hub and its cache."""

import re
from pathlib import Path

from keras_sae.presets._manifest import METADATA, read_metadata

_ADDRESS = re.compile(
    r"hf://(?P<repository>\w[\w.-]*/\w[\w.-]*)(?P<folder>(/\w[\w.-]*)*)(@(?P<revision>\w[\w./-]*))?", re.ASCII
)


def fetch(address, check):
    """The local directory of a preset in a model repository: `hf://owner/repository[/folder][@revision]`.

    Only the files that the metadata lists are fetched, of one commit. Where the hub cannot be reached, huggingface_hub gives
    what it fetched before.

    Args:
        address: The address.
        check: Function that verifies the directory, and returns it.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: The address has another form, or what lies there is not a preset, or not whole.
        ConnectionError: It could not be fetched.
    """
    parts = _ADDRESS.fullmatch(address)
    if not parts:
        raise ValueError(
            "A preset on the Hugging Face Hub is `hf://owner/repository`, then perhaps `/folder`, then perhaps `@revision`: "
            f"a branch, a tag or a commit. Received: {address!r}."
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{address} is fetched through the package huggingface_hub, which is not installed. Install it, or keras_sae with "
            "its extra `hub`; or download the preset and load its directory."
        ) from error

    folder = parts["folder"].strip("/")

    def download(names, revision, again):
        wanted = [f"{folder}/{name}".lstrip("/") for name in names]
        try:
            snapshot = snapshot_download(parts["repository"], revision=revision, allow_patterns=wanted, force_download=again)
        except Exception as error:  # of several libraries
            raise ConnectionError(f"{address} cannot be fetched: {error}") from error
        return Path(snapshot)

    def whole(again):
        snapshot = download([METADATA], parts["revision"], again)
        if not (snapshot / folder / METADATA).is_file():
            raise ValueError(f"{address} is not a preset: it has no {METADATA}. Check the folder and the revision.")
        files = read_metadata(snapshot / folder, verify=False)["files"]
        return check(download(files, snapshot.name, again) / folder)  # a snapshot is called by its commit

    try:
        return whole(again=False)
    except ValueError:  # the copy in the cache may be damaged
        return whole(again=True)
