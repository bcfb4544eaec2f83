import contextlib
import os
from pathlib import Path

import keras
import numpy as np

from keras_sae import presets
from keras_sae._checks import check_integer
from keras_sae._pixels import as_input
from keras_sae.anomaly import AnomalyDetector, has_detector
from keras_sae.models import SparseAutoencoder
from keras_sae.serving._assets import served_name, write_model_assets, write_version_assets
from keras_sae.serving._endpoints import ENDPOINTS, check_top_k, signatures_of
from keras_sae.serving._formats import FORMATS
from keras_sae.serving._versions import check_path, move_version, refuse_existing, temporary_folder

WEIGHTS = ("float32", "bfloat16")
CALLS_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def export(model, directory, version=None, top_k=None, image_inputs=False, weights=None, examples=None, detector=None):
    """Exports a model for TF Serving: a SavedModel in `directory/version`, with everything that a server and its clients need.

    Endpoints (signatures), each for a batch of any size:

    | endpoint | input | outputs | returns |
    |---|---|---|---|
    {endpoints}

    `serving_default` is `encode`. `indices` count along the flattened code: `(height, width, units)` for a code of maps.
    `anomaly_score` needs reconstructions of the shape of the inputs and is left out otherwise. `decode_top_k` is there
    for wide codes of few entries; see `docs/speed.md`.

    `detect` and `anomaly_map` come with a calibrated detector: one that you pass, or that of a preset. To serve another
    threshold or score, calibrate again and export the next version; the model stays as it is.

    The SavedModel runs without keras_sae and without Keras. It is written to a temporary folder and moved into place, so a
    server that polls `directory` never sees an incomplete version, and a failed export leaves nothing behind.
    `docs/serving.md` lists the other files: warm-up requests, golden examples, checksums and the configuration of a server.

    Args:
        model: A `SparseAutoencoder`, the name or directory of a preset, or an `AnomalyDetector`.
        directory: Folder of the model, TF Serving's `model_base_path`. Its last part is the name of the model. In requests,
            accents are dropped, and characters other than letters, digits and `_.-` are replaced by `_`.
        version: Integer, at least 0. TF Serving serves the highest one. By default 1 more than the highest in `directory`.
        top_k: Integer, at least 1 and at most the width of a code. Number of entries that `encode_top_k` returns. The default
            is the number that a `KSparse` at the end of the encoder keeps, or else 32, or the width of a narrower code.
        image_inputs: Whether to add two variants of every endpoint that reads `inputs`: `encode_images` reads `images`,
            uint8, and `encode_image_bytes` reads `image_bytes`, PNG or JPEG files. Both divide pixels by 255.
        weights: Type in which weights are stored: `"float32"`, or `"bfloat16"` for half the size. By default that of the
            model. Arithmetic stays in the type of the model.
        examples: Array of up to 8 finite inputs for the golden examples. By default those of the preset, or else random numbers
            in [0, 1).
        detector: A calibrated `keras_sae.anomaly.AnomalyDetector` of this model, or None for that of the preset, if it has one.

    Returns:
        `pathlib.Path` of `directory/version`.

    Raises:
        FileExistsError: The version exists. An existing version is never overwritten.
        RuntimeError: The Keras backend is not TensorFlow.
        ValueError: An argument is invalid, a weight is NaN or infinite, or a layer of the model cannot be exported.

    Example:

    >>> path = export(DenseAutoencoder(784, 100, sparsity=KSparse(k=10)), tempfile.mkdtemp())
    >>> path.name
    '1'
    >>> served = tf.saved_model.load(path).signatures["encode_top_k"]
    >>> served(inputs=tf.zeros((3, 784)))["indices"].shape
    TensorShape([3, 10])
    """
    model, examples, detector = _load(model, examples, detector)
    if version is not None:
        version = check_integer("version", version, "is the number of the exported version", at_least=0)
    if weights is not None and weights not in WEIGHTS:
        raise ValueError(
            '`weights` is the type in which weights are stored, "float32" or "bfloat16", or None for that of the model. '
            f"Received: weights={weights!r}."
        )
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Exporting for TF Serving needs the TensorFlow backend of Keras. "
            f"Received: the backend {keras.backend.backend()!r}. Save the model with `save_to_preset`, and export that preset "
            "in a process with KERAS_BACKEND=tensorflow."
        )
    directory = Path(directory).expanduser()
    check_path(directory)
    if directory.suffix.lower() in FORMATS:
        raise ValueError(
            f"`directory` is a folder of versions, but {directory.name!r} has the suffix of a file. To write the encoder in "
            "that format, use `export_encoder`."
        )
    presets.check_finite(model, "is not exported")
    examples = _check_examples(model, examples)
    if image_inputs:
        _check_pixels(examples, detector)
    options = {"top_k": check_top_k(model, top_k), "detector": detector and detector.as_model()}
    signatures = signatures_of(ENDPOINTS, model, options, image_inputs)
    refuse_existing(directory, version)
    with temporary_folder(directory) as temporary:
        draft = temporary / "model"
        _write(model, signatures, draft, weights)
        write_version_assets(model, signatures, draft, served_name(directory), _stored_types(model, weights), examples)
        version = move_version(draft, directory, version)
        write_model_assets(directory, version)
    return directory / str(version)


export.__doc__ = export.__doc__.replace("{endpoints}", "\n    ".join(endpoint.row() for endpoint in ENDPOINTS))


def _load(model, examples, detector):
    """The model, its examples and its detector, from the arguments of `export`."""
    if isinstance(model, AnomalyDetector):
        detector = model if detector is None else detector
        model = model.model
    if isinstance(model, (str, os.PathLike)):
        reference = presets.load_reference(model)
        if examples is None and reference is not None:
            examples = reference["inputs"]
        if detector is None and has_detector(model):
            detector = AnomalyDetector.from_preset(model)
            model = detector.model
        else:
            model = SparseAutoencoder.from_preset(model)
    if not isinstance(model, SparseAutoencoder):
        raise TypeError(
            "`model` must be a SparseAutoencoder, an AnomalyDetector of one, or the name or directory of a preset. "
            f"Received: {model!r} of type {type(model).__name__}."
        )
    if detector is not None and (not isinstance(detector, AnomalyDetector) or detector.model is not model):
        raise ValueError(
            "`detector` must be an AnomalyDetector of the exported model, since its threshold holds for no other. "
            f"Received: detector={detector!r}. Export the detector itself: `export(detector, directory)`."
        )
    return model, examples, detector


def _check_pixels(examples, detector):
    """Refuses endpoints for images where the model reads something other than pixels in [0, 1]."""
    ranges = {"the examples": (float(examples.min()), float(examples.max()))}
    if detector is not None and detector.calibration is not None:
        ranges["the samples that the detector was calibrated on"] = detector.calibration.input_range
    for what, (low, high) in ranges.items():
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                "`image_inputs` divides pixels by 255 and gives them to the model, which must read images in [0, 1]. Received: "
                f"a model of other images: {what} go from {low:.3g} to {high:.3g}. Make such preprocessing part of the model "
                "(`center=True` subtracts the mean), or leave `image_inputs` out."
            )


def _check_examples(model, examples):
    shape, dtype = model.encoder.inputs[0].shape[1:], keras.backend.standardize_dtype(model.encoder.inputs[0].dtype)
    if examples is None:
        # 32 stands for sizes that the model leaves open.
        random = np.random.default_rng(0).uniform(size=(4, *(size or 32 for size in shape)))
        return random.astype(dtype)
    examples = as_input(examples).astype(dtype)
    fits = len(shape) == examples.ndim - 1 and all(
        size in (None, given) for size, given in zip(shape, examples.shape[1:], strict=False)
    )
    if not fits or len(examples) == 0:
        raise ValueError(
            "`examples` are inputs of the model with a batch axis, at least one. "
            f"Received: an array of shape {examples.shape}; the model reads {('n', *shape)}."
        )
    if not np.isfinite(examples[:8]).all():
        raise ValueError("`examples` must be finite. Received: an array with NaN or infinite values. Pass others.")
    return examples[:8]


def _write(model, signatures, path, weights):
    import tensorflow as tf

    stored = _converted(model, weights) if weights else []

    def concrete(signature):
        def function(*tensors):
            # Refuses wrong shapes, which a Reshape layer would turn into other samples.
            tensors = [tf.ensure_shape(tensor, each.shape) for tensor, each in zip(tensors, signature.inputs, strict=True)]
            state = [(weight, tf.cast(value, weight.dtype)) for weight, value in stored]
            with keras.StatelessScope(state_mapping=state) if state else contextlib.nullcontext():
                return signature.function(*tensors)

        specs = [tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in signature.inputs]
        return tf.function(function, input_signature=specs, autograph=False).get_concrete_function()

    with _explained(model):
        traced = {id(signature): concrete(signature) for signature in signatures.values()}
    functions = {name: traced[id(signature)] for name, signature in signatures.items()}
    _refuse_python(model, functions.values())
    root = tf.Module()
    # Only the variables that signatures read are saved, not the rest of the model, such as an optimizer.
    root.weights = list({id(weight): weight for each in functions.values() for weight in each.graph.variables}.values())
    with _explained(model):
        tf.saved_model.save(root, str(path), functions)


@contextlib.contextmanager
def _explained(model):
    """Says which model TensorFlow could not export."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"The {type(model).__name__} {model.name!r} cannot be exported: TensorFlow cannot write one of its layers as a "
            f"graph. It says: {type(error).__name__}: {error}"
        ) from error


def _refuse_python(model, functions):
    """Refuses graphs that call Python, which a server does not have."""
    graphs = [function.graph.as_graph_def() for function in functions]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    calls = CALLS_PYTHON & {node.op for node in nodes}
    if calls:
        raise ValueError(
            f"The {type(model).__name__} {model.name!r} cannot be exported: one of its layers calls Python through "
            "tf.py_function or tf.numpy_function, and a server has no Python. Write the layer with `keras.ops`. "
            f"Found: the operation {', '.join(sorted(calls))}."
        )


def _float_weights(model):
    parts = (model.encoder, model.decoder, model.features)
    weights = {id(weight): weight for part in parts for weight in part.weights if "float" in weight.dtype}
    return list(weights.values())


def _converted(model, dtype):
    """Pairs of a weight of another type and a variable that holds it as `dtype`."""
    import tensorflow as tf

    return [
        (weight, tf.Variable(tf.cast(weight.value, dtype), trainable=False))
        for weight in _float_weights(model)
        if weight.dtype != dtype
    ]


def _stored_types(model, dtype):
    """The types of the stored weights, for README and export.json."""
    return dtype or " and ".join(sorted({weight.dtype for weight in _float_weights(model)})) or "no floats"
