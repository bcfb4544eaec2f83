"""Presets on the Hugging Face Hub, against a local server that answers like the hub."""

import hashlib
import importlib.util
import json
import shutil
import sys

import pytest

from keras_sae import presets

COMMITS = {"main": "a" * 40, "v1": "b" * 40}

SESSION = """
import sys
import urllib.request

import numpy as np
import pytest

from keras_sae import presets
from keras_sae.models import SparseAutoencoder

digest, endpoint = sys.argv[1:]
reference = presets.load_reference("hf://me/encoder")
model = SparseAutoencoder.from_preset("hf://me/encoder")
np.testing.assert_allclose(model.encoder(reference["inputs"]), reference["codes"], atol=1e-6)
directory = presets.find("hf://me/encoder")
assert directory.name == "a" * 40
assert sorted(path.name for path in directory.iterdir()) == [
    "config.json", "metadata.json", "model.weights.h5", "reference.npz",
], "only what the metadata lists is fetched"

nested = presets.find(f"hf://me/encoder/deeper/one@v1#sha256={digest}")
assert nested.parts[-3:] == ("b" * 40, "deeper", "one")
assert presets.find("hf://me/encoder/deeper/one@" + "b" * 40) == nested

with pytest.raises(ValueError, match="not the one that the address pins"):
    presets.find("hf://me/encoder#sha256=" + "0" * 64)
with pytest.raises(ValueError, match="has no metadata.json"):
    presets.find("hf://me/encoder/nowhere")
for wrong in ("hf://me", "hf://me/encoder/../other", "hf://me/encoder@", "hf://me/encoder?x"):
    with pytest.raises(ValueError, match="is `hf://owner/repository`"):
        presets.find(wrong)
with pytest.raises(ConnectionError, match="hf://me/absent cannot be downloaded"):
    presets.find("hf://me/absent")
with pytest.raises(ValueError, match="damaged, or not the one that was published"):
    presets.find("hf://me/swapped")

(directory / "config.json").resolve().write_text("{}")  # a damaged file in the cache
presets.find("hf://me/encoder")

urllib.request.urlopen(endpoint + "/down").read()
assert presets.find("hf://me/encoder") == directory, "what was fetched loads without the hub"
"""


def test_presets_are_fetched_through_huggingface_hub(published, serve, tmp_path, in_fresh_process):
    if not importlib.util.find_spec("huggingface_hub"):
        pytest.skip("needs the package huggingface_hub: pip install huggingface_hub")
    swapped = tmp_path / "swapped"
    shutil.copytree(published / "preset", swapped)
    (swapped / "model.weights.h5").write_bytes((swapped / "model.weights.h5").read_bytes()[:-1] + b"?")
    repositories = {
        ("me/encoder", COMMITS["main"]): {**files(published / "preset"), "large.bin": b"not part of the preset"},
        ("me/encoder", COMMITS["v1"]): {f"deeper/one/{name}": body for name, body in files(published / "preset").items()},
        ("me/swapped", COMMITS["main"]): files(swapped),
    }
    server = serve(hub_of(repositories))
    digest = presets.read_metadata(published / "preset")["metadata_sha256"]
    in_fresh_process(
        SESSION,
        digest,
        server.url,
        HF_ENDPOINT=server.url,
        HF_HOME=str(tmp_path / "huggingface"),
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    assert not [path for path in server.log if "large.bin" in path]


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def hub_of(repositories):
    """Answers as the hub: revisions, trees and files of model repositories."""
    state = {"up": True}

    def answer(path):
        if path == "/down":
            state["up"] = False
            return 200, {}, b""
        parts = path.strip("/").split("/")
        if not state["up"]:
            return 403, {}, b"{}"
        if parts[:2] == ["api", "models"]:
            name, what, revision = "/".join(parts[2:4]), parts[4], parts[5]
            commit = COMMITS.get(revision, revision)
            content = repositories.get((name, commit))
            if content is None:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            if what == "revision":
                return 200, {"Content-Type": "application/json"}, json.dumps({"id": name, "sha": commit}).encode()
            tree = [
                {"type": "file", "path": path, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                for path, body in content.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        name, commit, file = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        body = repositories.get((name, commit), {}).get(file)
        if body is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": commit}, body

    return answer


def test_without_huggingface_hub_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="huggingface_hub, which is not installed"):
        presets.find("hf://me/encoder")
