import contextlib
import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_sae import presets
from keras_sae.models import SparseAutoencoder
from keras_sae.serving._assets import name_of, write_beside_versions, write_extra
from keras_sae.serving._endpoints import check_top_k, endpoints_of

WEIGHTS = ("float32", "bfloat16")
CALLS_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def export(model, directory, version=None, top_k=None, image_inputs=False, weights="float32", examples=None):
    """Exports a model as a SavedModel for TF Serving, in `directory/version`, with all that a server and its clients want.

    Endpoints (signatures), each for a batch of any size:

    | endpoint | input | output |
    |---|---|---|
    | `serving_default`, `encode` | `inputs` | `codes` |
    | `encode_top_k` | `inputs` | `indices`, `values`: the strongest entries of each code, the strongest first |
    | `decode` | `codes` | `reconstructions` |
    | `reconstruct` | `inputs` | `reconstructions` |
    | `anomaly_score` | `inputs` | `scores`: the mean squared error of each reconstruction |

    Strength is magnitude. `indices` count along the code, which for a code of maps is the flattened one, `(height * width *
    units)` in this order. `anomaly_score` is left out where reconstructions have another shape than inputs.

    The SavedModel needs neither keras_sae nor Keras. It is written beside its place and moved there when whole, so that a
    server that polls `directory` never sees half a model; where it fails, nothing is left. `docs/serving.md` tells what else
    is written: warm-up requests, golden requests and their answers, examples, checksums, the configuration of a server.

    Args:
        model: A `SparseAutoencoder`, or the name or directory of a preset.
        directory: Folder of the model; TF Serving's `model_base_path`. Its last part is the name of the model.
        version: Integer, at least 0. TF Serving serves the highest one. By default one more than the highest there, or 1.
        top_k: Integer, at least 1 and at most the width of a code: how many entries `encode_top_k` gives. By default as
            many as `KSparse` leaves active where it ends the encoder, otherwise 32, or all of a narrower code.
        image_inputs: Whether each endpoint that reads `inputs` has two more, for images: `encode_images` reads `images`,
            uint8, and `encode_image_bytes` reads `image_bytes`, encoded as PNG or JPEG. Both divide by 255.
        weights: `"float32"`, or `"bfloat16"` to store float32 weights in half the size; arithmetic stays in float32.
        examples: Array of a few inputs, of which the golden requests are made. By default those of the preset, or else
            random numbers in [0, 1).

    Returns:
        `pathlib.Path` of `directory/version`.

    Raises:
        FileExistsError: That version exists. A version that may be in use is never overwritten.
        RuntimeError: Keras runs on another backend than TensorFlow.
        ValueError: A layer of the model cannot be exported, and other bad input.

    Example:

    >>> path = export(DenseAutoencoder(784, 100, sparsity=KSparse(k=10)), tempfile.mkdtemp())
    >>> path.name
    '1'
    >>> served = tf.saved_model.load(path).signatures["encode_top_k"]
    >>> served(inputs=tf.zeros((3, 784)))["indices"].shape
    TensorShape([3, 10])
    """
    if isinstance(model, (str, os.PathLike)):
        reference = presets.load_reference(model)
        if examples is None and reference is not None:
            examples = reference["inputs"]
        model = SparseAutoencoder.from_preset(model)
    if not isinstance(model, SparseAutoencoder):
        raise TypeError(
            "`model` must be a SparseAutoencoder, or the name or directory of a preset. "
            f"Received: {model!r} of type {type(model).__name__}."
        )
    if version is not None and (isinstance(version, bool) or not hasattr(version, "__index__") or version < 0):
        raise ValueError(f"`version` must be an integer of at least 0, as TF Serving wants it. Received: version={version!r}.")
    if weights not in WEIGHTS:
        raise ValueError(
            f'`weights` is the type that weights are stored in, "float32" or "bfloat16". Received: weights={weights!r}.'
        )
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "A SavedModel for TF Serving is written with the TensorFlow backend; Keras runs on "
            f"{keras.backend.backend()!r} here. Save the model with `save_to_preset`, and export it in a process with "
            "KERAS_BACKEND=tensorflow."
        )
    examples = _check_examples(model, examples)
    endpoints = endpoints_of(model, check_top_k(model, top_k), image_inputs)
    directory = Path(directory).expanduser()
    _refuse_existing(directory, version)
    with _folder(directory) as beside:
        draft = beside / "model"
        _write(model, endpoints, draft, weights)
        write_extra(model, endpoints, draft, name_of(directory), weights, examples)
        version = _move(draft, directory, version)
        write_beside_versions(directory, version)
    return directory / str(version)


def versions_in(directory):
    """The versions in a folder, ascending, as TF Serving finds them: the subfolders whose names are numbers."""
    if not Path(directory).is_dir():
        return []
    return sorted(int(path.name) for path in Path(directory).iterdir() if path.name.isdecimal())


def _check_examples(model, examples):
    shape, dtype = model.encoder.inputs[0].shape[1:], keras.backend.standardize_dtype(model.encoder.inputs[0].dtype)
    if examples is None:
        # Where a size is open, some size.
        random = np.random.default_rng(0).uniform(size=(4, *(size or 32 for size in shape)))
        return random.astype(dtype)
    examples = np.asarray(examples, dtype)
    fits = len(shape) == examples.ndim - 1 and all(
        size in (None, given) for size, given in zip(shape, examples.shape[1:], strict=False)
    )
    if not fits or len(examples) == 0:
        raise ValueError(
            "`examples` are a few inputs of the model, with a batch axis. "
            f"Received: an array of shape {examples.shape}, and the model reads {('n', *shape)}."
        )
    return examples[:8]


def _refuse_existing(directory, version):
    if version is not None and (directory / str(version)).exists():
        raise FileExistsError(
            f"{str(directory / str(version))!r} exists, and a version is never overwritten. "
            "Give another `version`, or none, for the next free one."
        )


@contextlib.contextmanager
def _folder(directory):
    """A temporary folder in `directory`, which is made where it does not exist, and unmade if nothing comes of it.

    TF Serving looks at folders with a number for a name only, so it does not see this one.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(prefix=".export-", dir=directory)
    except OSError as error:
        raise type(error)(
            f"`directory` is the folder that versions are written to, and {str(directory)!r} cannot be written to: {error}"
        ) from error
    try:
        with beside as name:
            yield Path(name)
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # another export may have come there
                path.rmdir()
        raise


def _move(draft, directory, version):
    """Moves a version into its place. Returns its number."""
    while True:
        number = version if version is not None else max([0, *versions_in(directory)]) + 1
        _refuse_existing(directory, version)
        try:
            os.rename(draft, directory / str(number))
            return number
        except OSError:
            if not (directory / str(number)).exists():
                raise
            # Another export has just taken the number. A folder is never moved over one that has something in it.


def _write(model, endpoints, path, weights):
    import tensorflow as tf

    stored = _in_bfloat16(model) if weights == "bfloat16" else []

    def served(endpoint):
        def function(tensor):
            # A server feeds whatever shape it is sent, and a reshape would make other samples of it.
            tensor = tf.ensure_shape(tensor, endpoint.shape)
            state = [(weight, tf.cast(value, "float32")) for weight, value in stored]
            with keras.StatelessScope(state_mapping=state) if state else contextlib.nullcontext():
                return endpoint.function(tensor)

        spec = tf.TensorSpec(endpoint.shape, endpoint.dtype, name=endpoint.input)
        return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()

    try:
        signatures = {name: served(endpoint) for name, endpoint in endpoints.items()}
        root = tf.Module()
        # What signatures read must hang on what is saved; the rest of the model, such as an optimizer, is not.
        root.weights = list({id(weight): weight for each in signatures.values() for weight in each.graph.variables}.values())
        tf.saved_model.save(root, str(path), signatures)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"The {type(model).__name__} {model.name!r} cannot be exported: TensorFlow cannot write one of its layers as a "
            f"graph. It says: {type(error).__name__}: {error}"
        ) from error
    calls = CALLS_PYTHON & _operations(path)
    if calls:
        raise ValueError(
            f"The {type(model).__name__} {model.name!r} cannot be exported: a layer of it calls Python, by tf.py_function or "
            "tf.numpy_function, and there is no Python in a server. Write the layer with `keras.ops`. "
            f"Found: the operation {', '.join(sorted(calls))}."
        )


def _in_bfloat16(model):
    """Pairs of a float32 weight of a model and a variable that holds it in half the size."""
    import tensorflow as tf

    weights = {id(weight): weight for weight in (*model.encoder.weights, *model.decoder.weights) if weight.dtype == "float32"}
    return [(weight, tf.Variable(tf.cast(weight.value, "bfloat16"), trainable=False)) for weight in weights.values()]


def _operations(path):
    """The kinds of operations in a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {node.op for node in nodes}
