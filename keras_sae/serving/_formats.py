import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_sae import presets
from keras_sae.anomaly import AnomalyDetector
from keras_sae.models import SparseAutoencoder


def _run_onnx(path, inputs, names):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return session.run(names or [session.get_outputs()[0].name], {session.get_inputs()[0].name: inputs})


def _run_litert(path, inputs, names):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    (name,) = runner.get_input_details()
    outputs = runner(**{name: inputs})
    return [outputs[each] for each in names or outputs]


def _run_openvino(path, inputs, names):
    import openvino

    # On some processors, OpenVINO computes in half precision by default.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = compiled(inputs)
    # Selections leave further outputs of their own.
    return [outputs[compiled.output(name)] for name in names] if names else [outputs[0]]


# By suffix: the name of the format in Keras, the extra with its exporter and runtime, and a function that runs a file and
# returns a list of its outputs of these names, or of the only one where there are no names.
FORMATS = {
    ".onnx": ("onnx", "onnx", _run_onnx),
    ".tflite": ("litert", "litert", _run_litert),
    ".xml": ("openvino", "openvino", _run_openvino),
}


def export_encoder(model, path):
    """Writes the encoder of a model in another format: inputs to codes, for a batch of any size.

    Keras exports the file. Before it is moved into place, the runtime of its format runs it once, and its codes are compared
    with those of the encoder.

    | suffix | format | extra |
    |---|---|---|
    | `.onnx` | ONNX, for ONNX Runtime | `onnx` |
    | `.tflite` | LiteRT, for phones and small devices | `litert` |
    | `.xml` | OpenVINO, with its weights in a `.bin` file of the same name | `openvino` |

    Args:
        model: A `SparseAutoencoder`, or the name or directory of a preset.
        path: The file to write. Its suffix, in capitals or not, is the format. An existing file is not overwritten, nor is an
            existing `.bin` of the same name by OpenVINO's weights.

    Returns:
        Float, the largest difference of an entry of a code from that of the encoder.

    Raises:
        FileExistsError: The file exists.
        ImportError: The packages for the format are not installed.
        RuntimeError: The file gives codes that differ from the encoder's.
        ValueError: The suffix is unknown, a weight is NaN or infinite, or the encoder cannot be written in this format.
    """
    path = _check_path(path)
    if isinstance(model, (str, os.PathLike)):
        model = SparseAutoencoder.from_preset(model)
    return _write(model.encoder, path, f"encoder of {model.name!r}")


def export_detector(detector, path):
    """Writes a calibrated detector in another format: from inputs to scores, flags, the threshold and maps.

    The formats and checks are those of `export_encoder`. The outputs are `scores`, `is_anomalous`, `threshold` and, where
    reconstructions can be compared with inputs, `maps`. Inputs are floats as the model reads them: divide uint8 pixels by 255.
    An OpenVINO file of a model with selections has further outputs without a meaning. Read outputs by their names.

    Args:
        detector: A calibrated `keras_sae.anomaly.AnomalyDetector`, or the name or directory of a preset that holds one.
        path: The file to write. Its suffix is the format.

    Returns:
        Float, the largest difference of an output from that of the detector.

    Raises:
        FileExistsError, ImportError, RuntimeError, ValueError: As in `export_encoder`. Or the detector is not calibrated.
    """
    path = _check_path(path)
    if isinstance(detector, (str, os.PathLike)):
        detector = AnomalyDetector.from_preset(detector)
    return _write(detector.as_model(), path, f"detector of {detector.model.name!r}")


def _check_path(path):
    """The path, if its suffix is a format and nothing is there."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"The suffix of `path` is the format and must be one of {', '.join(FORMATS)}. Received: {str(path)!r}. "
            "To write a SavedModel, use `export`."
        )
    return path


def _write(network, path, what):
    """Writes a functional model, and returns by how much its outputs differ from those of the file."""
    presets.check_finite(network, "is not exported")
    suffix = path.suffix.lower()
    for file in (path, path.with_suffix(".bin")) if suffix == ".xml" else (path,):
        _refuse_existing(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, extra, run = FORMATS[suffix]
    inputs = np.random.default_rng(0).uniform(size=(3, *(size or 32 for size in network.inputs[0].shape[1:])))
    inputs = inputs.astype(keras.backend.standardize_dtype(network.inputs[0].dtype))
    expected = network(inputs, training=False)  # the exporters want that a model has been called
    names = sorted(expected) if isinstance(expected, dict) else None
    expected = [expected[name] for name in names] if names else [expected]
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as temporary:
        draft = Path(temporary) / f"{path.stem}{suffix}"
        try:
            network.export(str(draft), format=kind, verbose=False)
            if suffix == ".xml":
                _keep_results_of_branches(draft)
            written = run(draft, inputs, names)
        except ImportError as error:
            raise ImportError(
                f'A package for {suffix} files is not installed: {error}. Install it with pip install "keras_sae[{extra}]".'
            ) from error
        except Exception as error:
            raise ValueError(f"The {what} cannot be written as a {suffix} file: {type(error).__name__}: {error}") from error
        difference = 0.0
        for found, tensor in zip(written, expected, strict=True):
            value = keras.ops.convert_to_numpy(tensor).astype("float64")
            difference = max(difference, float(np.abs(found - value).max()))
            if not np.abs(found - value).max() <= 1e-4 * max(1.0, float(np.abs(value).max())):
                raise RuntimeError(f"The {suffix} file of the {what} was not kept: its outputs differ by {difference:.1e}.")
        files = {file: path if file == draft else path.parent / file.name for file in sorted(Path(temporary).iterdir())}
        for target in files.values():
            _refuse_existing(target)
        for file, target in files.items():
            os.replace(file, target)
    return difference


def _keep_results_of_branches(path):
    """Makes the results of conditional branches, which selections have for NaN, outputs of an OpenVINO file.

    OpenVINO 2026.4 reuses their memory too early otherwise, and layers behind a selection then read arbitrary numbers.
    """
    import openvino

    model = openvino.Core().read_model(str(path))
    results = [output for node in model.get_ops() if node.get_type_name() == "If" for output in node.outputs()]
    hidden = [output for output in results if not any(map(_is_result, output.get_target_inputs()))]
    if hidden:
        model.add_outputs(hidden)
        changed = path.with_name("changed.xml")  # not over the file, which `model` still reads its weights from
        openvino.save_model(model, str(changed), compress_to_fp16=False)
        del model
        for suffix in (".xml", ".bin"):
            os.replace(changed.with_suffix(suffix), path.with_suffix(suffix))


def _is_result(target):
    return target.get_node().get_type_name() == "Result"


def _refuse_existing(file):
    if os.path.lexists(file):
        raise FileExistsError(f"An existing file is not overwritten. `path` needs {str(file)!r}, which exists. Choose another.")
