"""Presets at an address, against a local server."""

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import threading
import time

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.models import SparseAutoencoder
from keras_sae.presets import _remote

FILES = {"config.json", "metadata.json", "model.weights.h5", "reference.npz"}


def test_a_preset_is_fetched_once_and_then_needs_no_network(published, serve, cache):
    server = serve(published)
    address = f"{server.url}/preset"
    model = SparseAutoencoder.from_preset(address)
    reference = presets.load_reference(address)
    np.testing.assert_allclose(model.encoder.predict(reference["inputs"], verbose=0), reference["codes"], atol=1e-6)
    assert set(server.log) == {f"/preset/{name}" for name in FILES}
    asked = len(server.log)
    SparseAutoencoder.from_preset(address + "/")
    assert len(server.log) == asked
    (entry,) = cache.iterdir()  # only the preset
    assert presets.find(address) == entry
    assert {path.name for path in entry.iterdir()} == FILES


def test_what_is_fetched_goes_through_the_downloader_of_keras_with_its_hash(published, serve, cache, monkeypatch):
    asked, get_file = {}, keras.utils.get_file

    def recorded(name, origin, **options):
        asked[name] = options["file_hash"]
        return get_file(name, origin, **options)

    monkeypatch.setattr(keras.utils, "get_file", recorded)
    metadata = presets.read_metadata(presets.find(f"{serve(published).url}/preset"))
    assert asked == {**metadata["files"], "metadata.json": None}


def test_an_edited_card_is_fetched_too_but_not_under_a_pin(published, serve, cache, tmp_path):
    directory = shutil.copytree(published / "preset", tmp_path / "preset")
    (directory / "README.md").write_text("# A card\n")
    pin = presets.seal(directory)
    (directory / "README.md").write_text("# A card, edited on the website\r\n")
    address = serve(tmp_path).url + "/preset"
    assert "edited" in (presets.find(address) / "README.md").read_text()
    with pytest.raises(ValueError, match=r"README\.md' is damaged"):
        presets.find(f"{address}#sha256={pin}")


def test_texts_may_arrive_with_other_line_endings(published, serve, cache, tmp_path):
    directory = shutil.copytree(published / "preset", tmp_path / "preset")
    for name in ("config.json", "metadata.json"):
        (directory / name).write_bytes((directory / name).read_bytes().replace(b"\n", b"\r\n"))
    address = serve(tmp_path).url + "/preset"
    assert b"\r\n" in (presets.find(address) / "config.json").read_bytes()
    assert presets.load_reference(address)


def test_a_pin_accepts_one_preset_alone(published, serve, cache):
    address = f"{serve(published).url}/preset"
    digest = presets.read_metadata(published / "preset")["metadata_sha256"]
    assert presets.find(f"{address}#sha256={digest}").is_dir()
    with pytest.raises(
        ValueError, match=f"not the one that the address pins. Expected metadata_sha256: {'0' * 64}. Found: {digest}"
    ):
        presets.find(f"{address}#sha256={'0' * 64}")
    with pytest.raises(ValueError, match="pin its content"):
        presets.find(f"{address}#sha256=12")
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/preset",
        "ftp://example.org/preset",
        "file:///etc/preset",
        "https://",
        "https:///preset",
        "https://example.org/preset?token=1",
        "https://me:secret@example.org/preset",
        "https://[broken/preset",
        "https://example.org/a preset",
        "gs://bucket/preset",
    ],
)
def test_other_addresses_are_refused(address, cache):
    with pytest.raises(ValueError, match="A preset is loaded from `https://host/path`"):
        presets.find(address)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("harm", ["missing", "flipped", "cut short", "shorter than said", "endless", "empty"])
def test_what_arrives_damaged_is_refused_and_not_kept(published, serve, cache, name, harm):
    def answer(path):
        status, headers, body = whole.file(path)
        if not path.endswith("/" + name):
            return status, headers, body
        if harm == "missing":
            return 404, {}, b"gone"
        if harm == "flipped":
            return 200, {}, body[:100] + bytes([body[100] ^ 1]) + body[101:]
        if harm == "cut short":
            return 200, {}, body[:-10]
        if harm == "shorter than said":
            return 200, {"Content-Length": str(len(body))}, body[:-10]
        if harm == "endless":
            return 200, {"Content-Length": None}, body
        return 200, {}, b""

    whole, server = serve(published), serve(answer)
    refusal = (
        (ValueError, "There is no complete preset at") if harm in ("flipped", "cut short", "empty") else (ConnectionError, name)
    )
    with pytest.raises(refusal[0], match=refusal[1]) as caught:
        presets.find(f"{server.url}/preset")
    assert name in str(caught.value)
    assert not list(cache.iterdir())


def test_too_much_is_not_fetched(published, serve, cache, monkeypatch):
    monkeypatch.setattr(_remote, "LARGEST", 3000)
    server = serve(published)
    with pytest.raises(ConnectionError, match=r"states its size as \d+, but at most [\d,]+ bytes are accepted"):
        presets.find(f"{server.url}/preset")
    assert server.log.count("/preset/model.weights.h5") == 1  # asked for its size, not downloaded


def test_a_redirect_is_followed_but_not_out_of_https(published, serve, cache):
    target = serve(published)
    moved = serve(lambda path: (302, {"Location": target.url + path}, b""))
    assert presets.find(f"{moved.url}/preset").is_dir()
    outside = serve(lambda path: (302, {"Location": target.url.replace("127.0.0.1", "127.1") + path}, b""))
    with pytest.raises(ConnectionError, match="Presets do not leave https"):
        presets.find(f"{outside.url}/preset")
    endless = serve(lambda path: (302, {"Location": path}, b""))
    with pytest.raises(ConnectionError, match="cannot be downloaded"):
        presets.find(f"{endless.url}/preset")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "a\\b", ".hidden", "", "a//b", "a b", "a\n"]
)
def test_files_outside_of_the_preset_are_refused(published, serve, cache, tmp_path, name):
    directory = tmp_path / "served" / "preset"
    shutil.copytree(published / "preset", directory)
    reseal(directory, lambda metadata: metadata["files"].update({name: "0" * 64}))
    server = serve(tmp_path / "served")
    with pytest.raises(ValueError, match="names inside its own directory"):
        presets.find(f"{server.url}/preset")
    assert set(server.log) == {"/preset/metadata.json"}
    with pytest.raises(ValueError, match="names inside its own directory"):
        SparseAutoencoder.from_preset(directory)


def test_a_server_that_does_not_answer_is_given_up(serve, cache, monkeypatch):
    monkeypatch.setattr(_remote, "_SECONDS", 0.1)
    with pytest.raises(ConnectionError, match="timed out"):
        presets.find(f"{serve(lambda path: (time.sleep(0.5), {}, b'')).url}/preset")


def reseal(directory, change):
    """Rewrites metadata.json, with its own digest right, as a liar would."""
    path = directory / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    metadata["metadata_sha256"] = "0" * 64
    blank = json.dumps(metadata)
    digest = hashlib.sha256(blank.encode()).hexdigest()
    path.write_text(blank.replace(f'"metadata_sha256": "{"0" * 64}"', f'"metadata_sha256": "{digest}"'))


def test_a_preset_of_a_newer_format_asks_for_an_upgrade(published, serve, cache, tmp_path):
    shutil.copytree(published / "preset", tmp_path / "served" / "preset")
    reseal(tmp_path / "served" / "preset", lambda metadata: metadata.update(format=2))
    with pytest.raises(ValueError, match=r"is of format 2, .* Upgrade keras_sae"):
        presets.find(f"{serve(tmp_path / 'served').url}/preset")


@pytest.mark.parametrize("harm", ["no metadata", "half a file", "no weights", "a file in its place", "empty"])
def test_a_damaged_entry_of_the_cache_is_fetched_again(published, serve, cache, harm):
    address = f"{serve(published).url}/preset"
    entry = presets.find(address)
    if harm == "no metadata":
        (entry / "metadata.json").unlink()
    elif harm == "half a file":
        weights = (entry / "model.weights.h5").read_bytes()
        (entry / "model.weights.h5").write_bytes(weights[: len(weights) // 2])
    elif harm == "no weights":
        (entry / "model.weights.h5").unlink()
    else:
        shutil.rmtree(entry)
        entry.write_text("") if harm == "a file in its place" else entry.mkdir()
    assert presets.find(address) == entry
    assert presets.read_metadata(entry) == presets.read_metadata(published / "preset")
    assert [path.name for path in cache.iterdir()] == [entry.name]


def test_a_damaged_entry_that_cannot_be_fetched_again_says_both(published, serve, cache):
    state = {"up": True}
    server = serve(lambda path: whole.file(path) if state["up"] else (503, {}, b""))
    whole = serve(published)
    entry = presets.find(f"{server.url}/preset")
    (entry / "config.json").write_text("{}")
    state["up"] = False
    with pytest.raises(ConnectionError, match=r"503.* its copy in the cache is damaged: .*config\.json"):
        presets.find(f"{server.url}/preset")


def test_a_fetch_that_dies_leaves_nothing_that_counts(published, serve, cache, monkeypatch):
    address = f"{serve(published).url}/preset"
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            presets.find(address)
    leftover = cache / ".fetching-left" / "preset"  # left by a process that was killed
    leftover.mkdir(parents=True)
    shutil.copy(published / "preset" / "metadata.json", leftover)
    assert presets.read_metadata(presets.find(address))


def test_a_cache_that_cannot_be_written_names_the_variable(published, serve, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match="KERAS_HOME"):
        presets.find(f"{serve(published).url}/preset")


def test_of_two_fetchers_the_first_wins_and_both_get_it(published, serve, cache, tmp_path, monkeypatch):
    address, replace, moved = f"{serve(published).url}/preset", os.replace, []

    def late(source, target):  # another process finished first
        assert cache in source.parents  # on one file system, so that the move is atomic
        if not moved:
            moved.append(target)
            shutil.copytree(published / "preset", target)
            os.utime(target / "config.json", (1, 1))
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    entry = presets.find(address)
    assert (entry / "config.json").stat().st_mtime == 1
    assert [path.name for path in cache.iterdir()] == [entry.name]


def test_https_with_a_certificate_that_nobody_vouches_for_is_refused(published, serve, cache, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("needs the program openssl, to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *made.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    address = f"{serve(published, tls).url}/preset"
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        presets.find(address)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert presets.find(address).is_dir()


METADATA = "/preset/metadata.json"
EIGHT = """
import os, sys, urllib.request
import numpy as np
from keras_sae import presets
from keras_sae.models import SparseAutoencoder

writes = []

def watch(event, given):
    if event == "open" and isinstance(given[1], str) and set(given[1]) & set("wax+"):
        writes.append(str(given[0]))

def load(server):
    urllib.request.urlopen(server + "/together", timeout=200).read()
    model = SparseAutoencoder.from_preset(server + "/preset")
    stored = presets.load_reference(server + "/preset")
    np.testing.assert_allclose(model.encoder(stored["inputs"]), stored["codes"], atol=1e-6)
    urllib.request.urlopen(server + "/together", timeout=200).read()
    sys.addaudithook(watch)
    SparseAutoencoder.from_preset("mnist_dense_ksparse")
    assert not writes, writes

def child(server):
    failed = 1
    try:
        load(server)
        failed = 0
    finally:
        sys.excepthook(*sys.exc_info()) if failed else None
        os._exit(failed)

# Separate processes after one import of TensorFlow, which has not started any thread that a fork would break.
children = [os.fork() or child(sys.argv[1]) for _ in range(8)]
assert [os.waitpid(each, 0)[1] for each in children] == [0] * 8
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system where processes fork")
def test_eight_processes_at_once_get_whole_presets_and_write_nothing_for_a_shipped_one(
    published, serve, cache, in_fresh_process
):
    together = threading.Barrier(8)

    def answer(path):
        if path == "/together":
            together.wait(timeout=200)
            return 200, {}, b""
        while path == METADATA and server.log.count(path) < 3:  # nobody is served before several have asked
            time.sleep(0.01)
        return whole.file(path)

    whole, server = serve(published), serve(answer)
    in_fresh_process(EIGHT, server.url)
    assert server.log.count(METADATA) > 2  # each download asks twice: several ran at the same time
    (entry,) = cache.iterdir()
    assert presets.read_metadata(entry) == presets.read_metadata(published / "preset")
