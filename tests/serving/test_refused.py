"""What an export refuses before it writes anything."""

import json

import keras
import numpy as np
import pytest

from keras_sae import cli
from keras_sae.cli import _export
from keras_sae.models import DenseAutoencoder
from keras_sae.serving import export, export_encoder, read_description, verify_export
from keras_sae.serving._formats import FORMATS

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


@pytest.fixture(scope="module")
def plain():
    return DenseAutoencoder(6, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path, value):
    model = DenseAutoencoder(6, 3)
    model.encoder.get_layer("encode").bias.assign([value] * 3)
    for write, target in ((export, "model"), (export_encoder, "model.onnx")):
        with pytest.raises(ValueError, match=r"not exported: 3 of 3 values of its weight '\S+bias' are NaN or infinite"):
            write(model, tmp_path / target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("examples", "message"),
    [([[np.nan] * 6], "`examples` must be finite"), ([[3e38] * 6], "the output '[a-z]+' of its endpoint")],
)
def test_examples_that_are_not_finite_or_give_what_is_not(tmp_path, examples, message):
    with pytest.raises(ValueError, match=message):
        export(DenseAutoencoder(6, 3, kernel_initializer="ones"), tmp_path / "model", examples=np.array(examples))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model [v2]", "model*", "model?"])
def test_paths_that_tensorflow_takes_for_patterns(plain, tmp_path, name):
    with pytest.raises(ValueError, match="in a path as a pattern"):
        export(plain, tmp_path / name / "inside")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match="in a path as a pattern"):
        verify_export(tmp_path / name)


def test_existing_weights_of_openvino_are_not_overwritten(plain, tmp_path):
    (tmp_path / "keep.bin").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"keep\.bin"):
        export_encoder(plain, tmp_path / "keep.xml")
    assert (tmp_path / "keep.bin").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["keep.bin"]


def test_a_folder_with_the_suffix_of_a_file(plain, tmp_path):
    with pytest.raises(ValueError, match="use `export_encoder`"):
        export(plain, tmp_path / "model.ONNX")


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.pb", "M.Keras", "m.savedmodel"])
def test_names_of_files_of_other_formats_on_the_command_line(name, tmp_path, capsys):
    assert cli.main(["export", "mnist_dense_kl", str(tmp_path / name)]) == 2
    assert ".onnx, .tflite, .xml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_which_names_are_files(tmp_path):
    assert set(_export.FORMATS) == set(FORMATS)
    assert all(_export._is_file(name) for name in ("m.onnx", "m.ONNX", "m.Tflite", "m.XML"))
    (tmp_path / "m.keras").mkdir()
    folders = ("models/m", "m.v2", "mnist_1.0", "m.keras/", "m.2024-01-01", str(tmp_path / "m.keras"))
    assert not any(_export._is_file(name) for name in folders)


def test_a_suffix_in_capitals_is_a_format(plain, tmp_path):
    pytest.importorskip("openvino")
    assert export_encoder(plain, tmp_path / "E.XML") < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["E.XML", "E.bin"]


@pytest.mark.parametrize("weights", [None, "float32", "bfloat16"])
def test_weights_are_stored_in_the_type_that_the_description_states(tmp_path, weights):
    import tensorflow as tf

    model = DenseAutoencoder(6, 3, dtype="float64")
    version = export(model, tmp_path / "model", weights=weights)
    stored = {variable.dtype.name for variable in tf.saved_model.load(str(version)).weights}
    assert stored == {weights or "float64"}
    assert read_description(version)["weights"] == (weights or "float64")
    assert (read_description(version)["difference"]["codes"]["maximum"] > 1e-6) == (weights == "bfloat16")


def test_a_name_with_accents_and_spaces_is_served_and_asked_for(plain, tmp_path):
    version = export(plain, tmp_path / "Kodierer für Bilder")
    assert read_description(version)["model"]["name"] == "Kodierer_fur_Bilder"
    assert 'name: "Kodierer_fur_Bilder"' in (version.parent / "models.config").read_text()
    assert verify_export(version.parent)


def test_requests_are_json(exported):
    def refuse(constant):
        raise AssertionError(constant)

    for path in (exported / "1").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
