import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_sae.models import SparseAutoencoder

# By the end of a file's name: the format as Keras calls it, and the extra that brings the exporter and the runtime.
FORMATS = {".onnx": ("onnx", "onnx"), ".tflite": ("litert", "litert"), ".xml": ("openvino", "openvino")}


def export_encoder(model, path):
    """Writes the encoder of a model in another format: inputs to codes, for a batch of any size.

    By Keras' own exporters. What was written is run once by the runtime of its format and compared with the encoder, before
    it is moved into place.

    | name ends in | format, for | extra |
    |---|---|---|
    | `.onnx` | ONNX, for ONNX Runtime | `onnx` |
    | `.tflite` | LiteRT, for phones and small devices | `litert` |
    | `.xml` | OpenVINO, whose weights are in a `.bin` file beside it | `openvino` |

    Args:
        model: A `SparseAutoencoder`, or the name or directory of a preset.
        path: The file to write. An existing file is not overwritten.

    Returns:
        The largest difference of a code from that of the encoder, a float.

    Raises:
        FileExistsError: The file exists.
        ImportError: The format's packages are not installed.
        RuntimeError: What was written gives other codes.
        ValueError: The name says no format, or the encoder cannot be written in it.
    """
    path = Path(path).expanduser()
    if path.suffix not in FORMATS:
        raise ValueError(
            f"`path` says by its end which format to write: {', '.join(FORMATS)}. Received: {str(path)!r}. "
            "A SavedModel is written by `export`."
        )
    if isinstance(model, (str, os.PathLike)):
        model = SparseAutoencoder.from_preset(model)
    if path.exists():
        raise FileExistsError(f"{str(path)!r} exists and is not overwritten.")
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, extra = FORMATS[path.suffix]
    inputs = np.random.default_rng(0).uniform(size=(3, *(size or 32 for size in model.encoder.input_shape[1:])))
    inputs = inputs.astype(keras.backend.standardize_dtype(model.encoder.inputs[0].dtype))
    codes = keras.ops.convert_to_numpy(model.encoder(inputs, training=False))
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as beside:
        draft = Path(beside) / path.name
        try:
            model.encoder.export(str(draft), format=kind, verbose=False)
            runtime = {"onnx": _run_onnx, "litert": _run_litert, "openvino": _run_openvino}[kind]
            written = runtime(draft, inputs)
        except ImportError as error:
            raise ImportError(
                f"{path.suffix} files are written and checked with packages that are not all installed: {error}. "
                f'Install them with the extra: pip install "keras_sae[{extra}]".'
            ) from error
        except Exception as error:
            raise ValueError(
                f"The encoder of {model.name!r} cannot be written as {path.suffix}: {type(error).__name__}: {error}"
            ) from error
        difference = float(np.abs(written - codes).max())
        if not difference <= 1e-4 * max(1.0, float(np.abs(codes).max())):
            raise RuntimeError(f"As {path.suffix}, the encoder of {model.name!r} gives codes that differ by {difference:.1e}.")
        for file in sorted(Path(beside).iterdir()):
            os.replace(file, path.parent / file.name)
    return difference


def _run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def _run_litert(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    (name,) = run.get_input_details()
    (codes,) = run(**{name: inputs}).values()
    return codes


def _run_openvino(path, inputs):
    import openvino

    # Its default on some processors is half precision.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(inputs)[0]
