"""Version folders: numbers, exports at the same time, and failures."""

import os
import sys
import threading

import keras
import pytest

from keras_sae.models import DenseAutoencoder
from keras_sae.serving import export, read_description
from keras_sae.serving._versions import versions_in

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


def test_no_version_is_overwritten_and_the_next_is_one_more_than_the_highest(tmp_path):
    model = DenseAutoencoder(12, 9)
    assert export(model, tmp_path / "served", version=3) == tmp_path / "served" / "3"
    before = (tmp_path / "served" / "3" / "saved_model.pb").read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        export(model, tmp_path / "served", version=3)
    assert export(model, tmp_path / "served") == tmp_path / "served" / "4"
    assert (tmp_path / "served" / "3" / "saved_model.pb").read_bytes() == before
    folders = sorted(path.name for path in (tmp_path / "served").iterdir() if path.is_dir())
    assert folders == ["3", "4"]
    assert export(model, tmp_path / "new").name == "1"


def test_exports_at_the_same_time_get_different_versions(tmp_path, monkeypatch):
    import tensorflow as tf

    model = DenseAutoencoder(12, 9)
    export(model, tmp_path / "served")
    versions = sys.modules["keras_sae.serving._versions"]
    all_written, rename = threading.Barrier(3), os.rename

    def together(source, target):  # every thread has chosen its number before any of them moves
        if not getattr(turn, "past", False):
            turn.past = True
            all_written.wait(timeout=120)
        rename(source, target)

    turn = threading.local()
    monkeypatch.setattr(versions.os, "rename", together)
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(export(model, tmp_path / "served"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == ["2", "3", "4"]
    assert versions_in(tmp_path / "served") == [1, 2, 3, 4]
    assert not [path for path in (tmp_path / "served").iterdir() if path.name.startswith(".")]
    for path in paths:
        assert set(tf.saved_model.load(str(path)).signatures) == set(read_description(path)["endpoints"])


def test_a_server_that_polls_never_sees_an_incomplete_version(tmp_path, monkeypatch):
    seen = []
    assets = sys.modules["keras_sae.serving._assets"]
    write = assets.write_checksums

    def look(version):
        seen.append(versions_in(tmp_path / "served"))
        write(version)
        seen.append(versions_in(tmp_path / "served"))

    monkeypatch.setattr(assets, "write_checksums", look)
    export(DenseAutoencoder(12, 9), tmp_path / "served")
    assert seen == [[], []]


def test_a_failed_export_leaves_earlier_versions_as_they_were(tmp_path, monkeypatch):
    model = DenseAutoencoder(12, 9)
    export(model, tmp_path / "served")
    before = sorted((tmp_path / "served").rglob("*"))
    monkeypatch.setattr(sys.modules["keras_sae.serving._saved_model"], "write_version_assets", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(model, tmp_path / "served")
    assert sorted((tmp_path / "served").rglob("*")) == before


@pytest.mark.parametrize("version", [-1, "1", 1.5, True])
def test_bad_versions_are_refused(version, tmp_path):
    with pytest.raises(ValueError, match="version"):
        export(DenseAutoencoder(12, 9), tmp_path, version=version)


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    for directory in (tmp_path / "file", tmp_path / "file" / "served"):
        with pytest.raises(OSError, match="cannot be written to"):
            export(DenseAutoencoder(12, 9), directory)
    assert (tmp_path / "file").read_text() == "mine"
    if os.geteuid() == 0:
        return  # root can write to any folder
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot be written to"):
        export(DenseAutoencoder(12, 9), closed)
