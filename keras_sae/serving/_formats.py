import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_sae import presets
from keras_sae.models import SparseAutoencoder


def _run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def _run_litert(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    (name,) = runner.get_input_details()
    (codes,) = runner(**{name: inputs}).values()
    return codes


def _run_openvino(path, inputs):
    import openvino

    # On some processors, OpenVINO computes in half precision by default.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(inputs)[0]


# By suffix: the name of the format in Keras, the extra with its exporter and runtime, and a function that runs a file.
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
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(
            f"The suffix of `path` is the format and must be one of {', '.join(FORMATS)}. Received: {str(path)!r}. "
            "To write a SavedModel, use `export`."
        )
    if isinstance(model, (str, os.PathLike)):
        model = SparseAutoencoder.from_preset(model)
    presets.check_finite(model.encoder, "is not exported")
    for file in (path, path.with_suffix(".bin")) if suffix == ".xml" else (path,):
        _refuse_existing(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, extra, run = FORMATS[suffix]
    inputs = np.random.default_rng(0).uniform(size=(3, *(size or 32 for size in model.encoder.input_shape[1:])))
    inputs = inputs.astype(keras.backend.standardize_dtype(model.encoder.inputs[0].dtype))
    codes = keras.ops.convert_to_numpy(model.encoder(inputs, training=False))
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as temporary:
        draft = Path(temporary) / f"{path.stem}{suffix}"
        try:
            model.encoder.export(str(draft), format=kind, verbose=False)
            written = run(draft, inputs)
        except ImportError as error:
            raise ImportError(
                f'A package for {suffix} files is not installed: {error}. Install it with pip install "keras_sae[{extra}]".'
            ) from error
        except Exception as error:
            raise ValueError(
                f"The encoder of {model.name!r} cannot be written as a {suffix} file: {type(error).__name__}: {error}"
            ) from error
        difference = float(np.abs(written - codes).max())
        if not difference <= 1e-4 * max(1.0, float(np.abs(codes).max())):
            raise RuntimeError(
                f"The {suffix} file of the encoder of {model.name!r} was not kept: its codes differ by {difference:.1e}."
            )
        files = {file: path if file == draft else path.parent / file.name for file in sorted(Path(temporary).iterdir())}
        for target in files.values():
            _refuse_existing(target)
        for file, target in files.items():
            os.replace(file, target)
    return difference


def _refuse_existing(file):
    if os.path.lexists(file):
        raise FileExistsError(f"An existing file is not overwritten. `path` needs {str(file)!r}, which exists. Choose another.")
