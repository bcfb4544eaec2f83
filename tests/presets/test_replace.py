"""Saving over a preset keeps what its user put there; editing its texts keeps it loadable."""

import errno
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_sae import cli, presets
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.presets import _replace

X = np.random.default_rng(0).uniform(size=(4, 6)).astype("float32")


@pytest.fixture(scope="module")
def model():
    return DenseAutoencoder(6, 3)


@pytest.fixture
def clone(model, tmp_path):
    """A preset with a card in a folder that looks like a clone of a repository."""
    directory = tmp_path / "clone"
    model.save_to_preset(directory, examples=X, card="# Mine\n")
    (directory / ".git" / "objects" / "ab").mkdir(parents=True)
    (directory / ".git" / "objects" / "ab" / "cd").write_bytes(b"object")
    (directory / ".git" / "hooks").mkdir()
    (directory / ".git" / "objects" / "ab" / "cd").chmod(0o444)
    (directory / "notes.txt").write_text("hours of work")
    (directory / "link").symlink_to("notes.txt")
    return directory


def tree(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


OTHERS = [".git", ".git/hooks", ".git/objects", ".git/objects/ab", ".git/objects/ab/cd", "link", "notes.txt"]


@pytest.mark.parametrize("swapped", [True, False])
def test_what_the_package_did_not_write_survives_a_save(model, clone, monkeypatch, swapped):
    if not swapped:
        monkeypatch.setattr(_replace, "_exchange", lambda one, other: False)
    model.save_to_preset(clone)
    assert tree(clone) == [*OTHERS[:5], "config.json", "link", "metadata.json", "model.weights.h5", "notes.txt"]
    assert (clone / "notes.txt").read_text() == "hours of work"
    assert (clone / "link").is_symlink()
    assert presets.read_metadata(clone)["files"].keys() == {"config.json", "model.weights.h5"}
    assert os.listdir(clone.parent) == ["clone"]
    SparseAutoencoder.from_preset(clone)


def test_where_links_are_not_possible_files_are_copied(model, clone, monkeypatch):
    def refused(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refused)
    model.save_to_preset(clone)
    assert set(OTHERS) <= set(tree(clone))
    assert (clone / ".git" / "objects" / "ab" / "cd").read_bytes() == b"object"
    assert (clone / "link").is_symlink()


def test_an_edited_card_is_kept_and_moves_aside_for_a_new_one(model, clone):
    (clone / "README.md").write_text("# Mine, with more words\n")
    model.save_to_preset(clone)
    assert (clone / "README.md").read_text() == "# Mine, with more words\n"
    model.save_to_preset(clone, card="# New\n")
    assert (clone / "README.md").read_text() == "# New\n"
    (aside,) = clone.glob("README.*.md")
    assert aside.read_text() == "# Mine, with more words\n"
    model.save_to_preset(clone, card="# Newer\n")  # the package wrote the card that this replaces
    assert list(clone.glob("README.*.md")) == [aside]


def test_a_file_of_the_user_is_not_replaced_by_one_of_the_same_name(model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "reference.npz").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"reference\.npz' was not written by this package"):
        model.save_to_preset(tmp_path / "preset", examples=X)
    assert (tmp_path / "preset" / "reference.npz").read_bytes() == b"mine"
    SparseAutoencoder.from_preset(tmp_path / "preset")


@pytest.mark.parametrize("content", ['{"name": "of another program"}', "{", '{"format": 99}'])
def test_a_folder_with_metadata_of_another_program_is_no_preset(model, tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    (tmp_path / "data.bin").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="is not a preset"):
        model.save_to_preset(tmp_path)
    assert tree(tmp_path) == ["data.bin", "metadata.json"]


def test_a_link_to_a_preset_stays_a_link(model, clone, tmp_path, monkeypatch):
    (tmp_path / "current").symlink_to("clone")
    model.save_to_preset(tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    monkeypatch.chdir(clone)
    model.save_to_preset(".", card="# Here\n")
    assert (clone / "README.md").read_text() == "# Here\n"
    assert set(OTHERS) <= set(tree(clone))


SAVES = """
import sys
from keras_sae.models import DenseAutoencoder
model = DenseAutoencoder(6, 3)
print("ready", flush=True)
while True:
    model.save_to_preset(sys.argv[1])
"""


def test_processes_that_save_at_once_and_are_killed_lose_nothing(clone):
    command = [sys.executable, "-c", SAVES, str(clone)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                SparseAutoencoder.from_preset(clone)
            except ValueError as error:  # the writers never pause, so a slow reader may give up; it never reads half a preset
                if "was replaced by another each time" not in str(error):
                    raise
            assert set(OTHERS) <= set(tree(clone))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    SparseAutoencoder.from_preset(clone)
    assert set(OTHERS) <= set(tree(clone))


def test_an_edited_or_missing_card_does_not_keep_a_preset_from_loading(clone):
    (clone / "README.md").write_text("# Mine, edited\n")
    SparseAutoencoder.from_preset(clone)
    with pytest.raises(ValueError, match=r"README\.md' is damaged"):
        presets.read_metadata(clone, verify="card")
    (clone / "README.md").unlink()
    SparseAutoencoder.from_preset(clone)


def test_line_endings_of_text_files_do_not_count(clone):
    before = presets.read_metadata(clone)["metadata_sha256"]
    for name in ("README.md", "config.json", "metadata.json"):
        (clone / name).write_bytes((clone / name).read_bytes().replace(b"\n", b"\r\n"))
    assert presets.read_metadata(clone, verify="card")["metadata_sha256"] == before
    SparseAutoencoder.from_preset(clone)
    (clone / "config.json").write_bytes((clone / "config.json").read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"config\.json' is damaged"):
        SparseAutoencoder.from_preset(clone)


def test_sealing_makes_edited_texts_valid(clone, capsys):
    before = presets.read_metadata(clone)["metadata_sha256"]
    (clone / "README.md").write_text("# Mine, edited\n")
    text = (clone / "metadata.json").read_text()
    (clone / "metadata.json").write_text(text.replace("{", '{"licence": "CC0",', 1))
    with pytest.raises(ValueError, match="keras-sae seal"):
        SparseAutoencoder.from_preset(clone)
    sealed = presets.seal(clone)
    metadata = presets.read_metadata(clone, verify="card")
    assert metadata["metadata_sha256"] == sealed != before
    assert metadata["licence"] == "CC0"
    assert (clone / "README.md").read_text() == "# Mine, edited\n"
    assert set(OTHERS) <= set(tree(clone))
    assert metadata["files"].keys() == {"config.json", "model.weights.h5", "reference.npz", "README.md"}
    assert cli.main(["seal", str(clone)]) == 0
    assert sealed in capsys.readouterr().out


def test_sealing_does_not_make_damage_valid(clone, tmp_path):
    for name in ("config.json", "model.weights.h5", "reference.npz"):
        copy = shutil.copytree(clone, tmp_path / name, symlinks=True)
        (copy / name).write_bytes((clone / name).read_bytes() + b" ")
        with pytest.raises(ValueError, match=f"is not sealed: its file '{name}'"):
            presets.seal(copy)
    with pytest.raises(ValueError, match="not a preset"):
        presets.seal(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_diverged_is_not_saved(tmp_path, value):
    model = DenseAutoencoder(6, 3)
    model.decoder.layers[-1].bias.assign(np.full(6, value))
    with pytest.raises(ValueError, match=r"not saved as a preset: 6 of 6 values of its weight '\S+bias' are NaN or infinite"):
        model.save_to_preset(tmp_path / "preset")
    assert not (tmp_path / "preset").exists()


def test_examples_and_their_codes_must_be_finite(model, tmp_path):
    for examples, message in ((np.where(X > 0.5, X, np.nan), "in example 0"), (np.full((1, 6), 3e38), "gives NaN or infinite")):
        with pytest.raises(ValueError, match=message):
            DenseAutoencoder(6, 3, kernel_initializer="ones").save_to_preset(tmp_path / "preset", examples=examples)
        assert not (tmp_path / "preset").exists()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("errno = 28, 'No space left on device'")]
)
def test_a_full_disk_leaves_the_earlier_preset(model, tmp_path, monkeypatch, error):
    model.save_to_preset(tmp_path / "preset")
    before = {path.name: path.read_bytes() for path in (tmp_path / "preset").iterdir()}

    def full(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(type(model), "save_weights", full)
    with pytest.raises(OSError, match=r"The preset could not be written to .*preset.*No space left.*free some space"):
        model.save_to_preset(tmp_path / "preset")
    assert {path.name: path.read_bytes() for path in (tmp_path / "preset").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["preset"]
