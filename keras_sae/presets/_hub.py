"""Presets on the Hugging Face Hub. The package huggingface_hub downloads them to its cache."""

import re
from pathlib import Path

from keras_sae.presets._manifest import METADATA, read_metadata

_ADDRESS = re.compile(
    r"hf://(?P<repository>\w[\w.-]*/\w[\w.-]*)(?P<folder>(/\w[\w.-]*)*)(@(?P<revision>\w[\w./-]*))?", re.ASCII
)


def fetch(address, check):
    """The local directory of a preset in a model repository: `hf://owner/repository[/folder][@revision]`.

    Downloads only the files that the metadata lists, all from one commit. If the hub cannot be reached, huggingface_hub returns
    what it downloaded earlier.

    Args:
        address: The address.
        check: Function that verifies the directory and returns it.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: The address has another form, or there is no complete preset at it.
        ConnectionError: The preset cannot be downloaded.
    """
    parts = _ADDRESS.fullmatch(address)
    if not parts:
        raise ValueError(
            "The address of a preset on the Hugging Face Hub is `hf://owner/repository`. `/folder` and `@revision`, a branch, "
            f"tag or commit, may follow. Received: {address!r}."
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{address} is downloaded by the package huggingface_hub, which is not installed. Install it with "
            '`pip install "keras_sae[hub]"`, or download the preset yourself and load its directory.'
        ) from error

    folder = parts["folder"].strip("/")

    def download(names, revision, again):
        wanted = [f"{folder}/{name}".lstrip("/") for name in names]
        try:
            snapshot = snapshot_download(parts["repository"], revision=revision, allow_patterns=wanted, force_download=again)
        except Exception as error:  # of several libraries
            raise ConnectionError(f"{address} cannot be downloaded: {error}") from error
        return Path(snapshot)

    def whole(again):
        snapshot = download([METADATA], parts["revision"], again)
        if not (snapshot / folder / METADATA).is_file():
            raise ValueError(f"{address} is not a preset: it has no {METADATA}. Check the folder and the revision.")
        files = read_metadata(snapshot / folder, verify=False)["files"]
        return check(download(files, snapshot.name, again) / folder)  # the folder of a snapshot is named after its commit

    try:
        return whole(again=False)
    except ValueError:  # the copy in the cache may be damaged
        return whole(again=True)
