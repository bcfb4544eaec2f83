"""Damaged presets, and presets that are replaced while they are loaded."""

import json
import random
import shutil

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.presets import _storage
from keras_sae.presets._manifest import write_metadata


@pytest.fixture
def preset(published, tmp_path):
    """A directory of a preset, to be harmed."""
    return shutil.copytree(published / "preset", tmp_path / "preset")


def sealed(directory):
    """The directory, with metadata that says that its files are right."""
    metadata = presets.read_metadata(directory, verify=False)
    write_metadata(directory, metadata)
    return directory


def autoencoder(*widths):
    encoder = keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(width) for width in widths)])
    return SparseAutoencoder(encoder, keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)]))


def test_a_preset_that_is_replaced_while_it_is_loaded_is_loaded_whole(preset, monkeypatch):
    # Of the same shapes: shapes cannot tell whether parts of the old and the new preset were mixed.
    new = DenseAutoencoder(12, 6, sparsity=KSparse(3), tied=True)
    check_weights, replaced = _storage.check_weights, []

    def meanwhile(model, path):
        if not replaced:
            new.save_to_preset(preset)
            replaced.append(path)
        check_weights(model, path)

    monkeypatch.setattr(_storage, "check_weights", meanwhile)
    model = SparseAutoencoder.from_preset(preset)
    assert model.encoder.layers[-2].k == 3
    for one, other in zip(model.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras, before the weights turn out to be others
def test_a_preset_that_is_replaced_again_and_again_is_given_up(preset, monkeypatch):
    monkeypatch.setattr(_storage, "check_weights", lambda *_: DenseAutoencoder(12, 6, tied=True).save_to_preset(preset))
    with pytest.raises(ValueError, match="replaced by another each time"):
        SparseAutoencoder.from_preset(preset)


def test_a_preset_that_vanishes_while_it_is_loaded_is_missed(preset, monkeypatch):
    monkeypatch.setattr(_storage, "check_classes", lambda _: shutil.rmtree(preset))
    with pytest.raises(ValueError, match="There is no preset named"):
        SparseAutoencoder.from_preset(preset)


def test_weights_with_a_layer_too_many_are_refused(tmp_path):
    small, large = autoencoder(6), autoencoder(6, 6)
    small.save_to_preset(tmp_path / "preset")
    large.save_weights(tmp_path / "preset" / "model.weights.h5")
    small.load_weights(tmp_path / "preset" / "model.weights.h5")  # without a complaint from Keras
    with pytest.raises(ValueError, match=r"are not those of the model that .* also holds layers/.* of shape \(6, 6\)"):
        SparseAutoencoder.from_preset(sealed(tmp_path / "preset"))


def test_weights_of_a_part_of_the_model_are_refused(tmp_path):
    model = autoencoder(6)
    model.save_to_preset(tmp_path / "preset")
    model.encoder.save_weights(tmp_path / "preset" / "model.weights.h5")
    with pytest.raises(ValueError, match=r"are not those of the model that .* lacks"):
        SparseAutoencoder.from_preset(sealed(tmp_path / "preset"))


def test_weights_of_other_shapes_are_refused(preset):
    DenseAutoencoder(12, 5, tied=True).save_weights(preset / "model.weights.h5")
    with pytest.raises(ValueError, match=r"are not those of the model that .* lacks layers/.* of shape \(12, 6\)"):
        SparseAutoencoder.from_preset(sealed(preset))


@pytest.mark.parametrize("metadata", [{"format": 2}, {"format": 7, "files": [], "metadata_sha256": "of another kind"}])
def test_a_newer_format_is_told_however_it_may_look(preset, metadata):
    (preset / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=rf"of format {metadata['format']}, .* Upgrade"):
        SparseAutoencoder.from_preset(preset)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\xff" * 5000, b"null"])
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "reference.npz"])
def test_a_file_that_is_what_the_metadata_says_and_yet_nonsense_is_named(preset, name, content):
    (preset / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        (presets.load_reference if name == "reference.npz" else SparseAutoencoder.from_preset)(sealed(preset))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"12",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"9" * 5000,
        b'{"metadata_sha256": 5, "format": 1, "files": {}}',
        b'{"metadata_sha256": "", "format": 1, "files": {}}',
        b'{"metadata_sha256": "00", "format": 1, "files": {}, "seconds": 1e999}',
        b'{"metadata_sha256": "00", "format": 1, "files": ["config.json"]}',
    ],
    ids=lambda content: content[:50].decode("latin-1"),
)
def test_metadata_that_is_nonsense_is_named(preset, content):
    (preset / "metadata.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"metadata\.json' is damaged"):
        SparseAutoencoder.from_preset(preset)


def test_nonsense_anywhere_in_a_config_is_a_value_error(preset):
    nonsense = [None, -1, 10**13, 10**400, 1e308, "", "\ud800", "relu", [], [[]], {}, {"class_name": "Dense"}, True, [None] * 3]
    drawn = random.Random(0)
    original = json.loads((preset / "config.json").read_text())
    refused = []
    for _ in range(60):
        config = json.loads(json.dumps(original))
        node = config
        while True:  # walk to a random place in the tree
            key = drawn.choice(list(node))
            if not (isinstance(node[key], dict) and node[key]) or drawn.random() < 0.2:
                break
            node = node[key]
        node[key] = drawn.choice(nonsense)
        (preset / "config.json").write_text(json.dumps(config))
        try:
            SparseAutoencoder.from_preset(sealed(preset))
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(str(preset) in message for message in refused)


def test_a_preset_loads_from_where_nothing_can_be_written(preset, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryDirectory", None)
    monkeypatch.setattr("tempfile.mkdtemp", None)
    for path in [*preset.iterdir(), preset]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in preset.rglob("*")}
    SparseAutoencoder.from_preset(preset)
    assert presets.load_reference(preset)
    assert {path: path.stat().st_mtime_ns for path in preset.rglob("*")} == before
    preset.chmod(0o755)
