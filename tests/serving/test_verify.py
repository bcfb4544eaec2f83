import json
import os

import keras
import numpy as np
import pytest

from keras_sae import cli
from keras_sae.serving import read_description, verification_script, verify_export
from keras_sae.serving._assets import write_checksums

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


def change_golden(version, key, change):
    path = version / "assets.extra" / "golden.npz"
    with np.load(path) as arrays:
        arrays = dict(arrays)
    arrays[key] = change(arrays[key])
    np.savez(path, **arrays)
    write_checksums(version)


# Runs when Python starts. At the end, it notes whether Keras was loaded, and whether it could have been.
WATCH = """
import atexit, os, sys
def note():
    names = ("keras", "keras_sae")
    found = [name for name, module in sys.modules.items() if name.split(".")[0] in names and module]
    for name in names:
        try:
            __import__(name)
        except ImportError:
            continue
        found.append(f"import {name}")
    with open(os.environ["WATCHED"], "a") as file:
        file.write(f"{'tensorflow' in sys.modules} {found}")
atexit.register(note)
"""


def test_the_command_checks_an_export_in_a_process_without_keras(exported, tmp_path, monkeypatch, capsys):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("WATCHED", str(tmp_path / "watched"))
    assert cli.main(["verify-export", str(exported)]) == 0
    count = len(read_description(exported / "1")["endpoints"])
    checked = f"{count} endpoints at batch sizes 1, 7, 256, {3 * count} example requests, {count} warm-up records, checksums"
    assert capsys.readouterr().out.strip().endswith(f"small/1: {checked}")
    assert (tmp_path / "watched").read_text() == "True []"


def damage(version):
    path = version / "variables" / "variables.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def drop_an_endpoint(version):
    path = version / "assets.extra" / "export.json"
    description = json.loads(path.read_text())
    del description["endpoints"]["decode"]
    path.write_text(json.dumps(description))
    write_checksums(version)


def rename_an_output(version):
    path = version / "assets.extra" / "export.json"
    path.write_text(path.read_text().replace('"codes"', '"code"'))
    write_checksums(version)


def ask_another(version):
    requests = version / "assets.extra" / "requests"
    (requests / "encode.row.json").write_text((requests / "encode_top_k.row.json").read_text())
    write_checksums(version)


def drop_warm_up(version):
    import tensorflow as tf

    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    with tf.io.TFRecordWriter(path) as writer:
        for record in records[1:]:
            writer.write(record)
    write_checksums(version)


WRONG = {
    "damaged": (damage, r"variables\.data-00000-of-00001 is damaged\. Expected SHA-256: [0-9a-f]{64}\."),
    "missing": (lambda version: (version / "fingerprint.pb").unlink(), r"fingerprint\.pb is missing"),
    "added": (lambda version: (version / "new").write_text(""), "new is not listed"),
    "endpoints": (drop_an_endpoint, "The endpoints are"),
    "outputs": (rename_an_output, "puts of the endpoint"),
    "golden": (
        lambda version: change_golden(version, "encode/outputs/codes", lambda codes: codes + 1e-3),
        r"The output codes of the endpoint encode at batch size 1: the difference from the golden output is 0\.001",
    ),
    "indices": (
        lambda version: change_golden(version, "encode_top_k/outputs/values", lambda values: values[:, ::-1]),
        "The entries that `indices` of encode_top_k at batch size 1 point to: the difference",
    ),
    "request": (ask_another, r"requests/encode\.row\.json is a request to the endpoint encode_top_k"),
    "warm-up": (drop_warm_up, "There is no warm-up record for serving_default"),
    "all": (lambda version: (version / "assets.extra" / "SHA256SUMS").unlink(), "keras_sae did not export this version"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_first_error_is_reported(name, copied):
    # In this process, since another takes seconds to start.
    spoil, message = WRONG[name]
    spoil(copied / "1")
    with pytest.raises(verification_script.VerificationError, match=message):
        verification_script.check(copied / "1")


def test_the_command_ends_with_status_1_and_a_sentence(copied, capsys):
    damage(copied / "1")
    assert cli.main(["verify-export", str(copied / "1")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("keras-sae verify-export: ")
    assert "is damaged" in said
    assert "Traceback" not in said


def test_exports_without_rules_for_verification_are_checked(copied):
    # Earlier releases did not write them, nor the meanings of endpoints.
    path = copied / "1" / "assets.extra" / "export.json"
    description = json.loads(path.read_text())
    del description["verification"], description["meanings"]
    path.write_text(json.dumps(description))
    write_checksums(copied / "1")
    assert "checksums" in verification_script.check(copied / "1")
    spoil, message = WRONG["indices"]
    spoil(copied / "1")
    with pytest.raises(verification_script.VerificationError, match=message):
        verification_script.check(copied / "1")


def test_the_tolerance_is_that_of_the_endpoint(copied):
    path = copied / "1" / "assets.extra" / "export.json"
    description = json.loads(path.read_text())
    description["verification"]["reconstruct"]["tolerance"] = 0.01
    path.write_text(json.dumps(description))
    change_golden(copied / "1", "reconstruct/outputs/reconstructions", lambda outputs: outputs + 0.005)
    assert "checksums" in verification_script.check(copied / "1")
    change_golden(copied / "1", "reconstruct/outputs/reconstructions", lambda outputs: outputs + 0.05)
    with pytest.raises(verification_script.VerificationError, match=r"reconstructions of the endpoint reconstruct .* is 0\.05"):
        verification_script.check(copied / "1")


def test_a_configuration_with_a_missing_version_is_an_error(copied):
    config = copied / "models.config"
    config.write_text(config.read_text().replace("versions: 1", "versions: 1 versions: 7"))
    with pytest.raises(RuntimeError, match="serves version 7, but there is no folder"):
        verify_export(copied)
    config.unlink()
    with pytest.raises(RuntimeError, match=r"models\.config is missing"):
        verify_export(copied)


@pytest.mark.parametrize("name", ["nothing", ""])
def test_a_folder_without_versions_is_refused(name, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="which contains no version"):
        verify_export(tmp_path / name)
    assert cli.main(["verify-export", str(tmp_path / name)]) == 2
