import builtins

import keras
import numpy as np
import pytest

from keras_sae import cli
from keras_sae.models import DenseAutoencoder
from keras_sae.serving import export_encoder
from keras_sae.serving._formats import FORMATS

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the exporters are tested with TensorFlow")

RUNTIMES = {".onnx": ("onnxruntime", "onnx"), ".tflite": ("ai_edge_litert", "litert"), ".xml": ("openvino", "openvino")}


def run(path, inputs):
    """Runs a file with the runtime of its format."""
    if path.suffix == ".onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(str(path)).run(None, {"inputs": inputs})[0]
    if path.suffix == ".xml":
        import openvino

        return openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"inputs": inputs})[0]
    from ai_edge_litert.interpreter import Interpreter

    (codes,) = Interpreter(str(path)).get_signature_runner()(inputs=inputs).values()
    return codes


# OpenVINO takes ten seconds; the tests of loaders run it on a SavedModel by default.
@pytest.mark.parametrize(
    "suffix", [pytest.param(each, marks=pytest.mark.slow) if each == ".xml" else each for each in RUNTIMES]
)
def test_each_format_is_run_by_its_own_runtime(suffix, model, tmp_path):
    pytest.importorskip(RUNTIMES[suffix][0], reason=f"the extra {RUNTIMES[suffix][1]} brings it")
    path = tmp_path / "new" / f"encoder{suffix}"
    assert export_encoder(model, path) < 1e-5
    for size in (1, 7):
        inputs = np.random.default_rng(size).uniform(size=(size, 6, 5, 1)).astype("float32")
        np.testing.assert_allclose(run(path, inputs), model.encoder(inputs), atol=1e-5)
    expected = ["encoder.bin", "encoder.xml"] if suffix == ".xml" else [path.name]
    assert sorted(each.name for each in path.parent.iterdir()) == expected
    with pytest.raises(FileExistsError, match="not overwritten"):
        export_encoder(model, path)


def test_an_unknown_suffix_and_a_missing_package_are_errors(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"\.onnx, \.tflite, \.xml\. Received: .*encoder\.pt'"):
        export_encoder(model, tmp_path / "encoder.pt")
    importing = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] in ("openvino", "onnxruntime"):
            raise ImportError(f"No module named {name!r}")
        return importing(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "keras_sae\[openvino\]"'):
        export_encoder(model, tmp_path / "encoder.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_gives_other_codes_is_not_kept(model, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the extra onnx brings it")
    *names, run_onnx = FORMATS[".onnx"]
    monkeypatch.setitem(FORMATS, ".onnx", (*names, lambda *given: [run_onnx(*given)[0] + 0.01]))
    with pytest.raises(RuntimeError, match="differ by"):
        export_encoder(model, tmp_path / "encoder.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_file_if_the_suffix_is_a_format(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra onnx brings it")
    DenseAutoencoder((4, 4, 1), 6).save_to_preset(tmp_path / "preset")
    assert cli.main(["export", str(tmp_path / "preset"), str(tmp_path / "encoder.onnx")]) == 0
    assert "Its codes differ from those of Keras by at most" in capsys.readouterr().out
    assert (tmp_path / "encoder.onnx").is_file()


def test_options_for_a_saved_model_are_refused_for_a_file(tmp_path, capsys):
    assert cli.main(["export", "mnist_dense_ksparse", str(tmp_path / "encoder.onnx"), "--weights", "bfloat16"]) == 2
    assert "Remove them, or give a folder" in capsys.readouterr().err
