import os
import tempfile
from pathlib import Path

import keras

from keras_sae.models import SparseAutoencoder


def export(model, directory, version=1):
    """Exports a model as a SavedModel for TF Serving, in `directory/version`.

    Endpoints (signatures), each with a batch axis of any size:

    | endpoint | input | output |
    |---|---|---|
    | `serving_default`, `encode` | `inputs` | `codes` |
    | `decode` | `codes` | `reconstructions` |
    | `reconstruct` | `inputs` | `reconstructions` |

    The SavedModel needs neither keras_sae nor Keras: `tf.saved_model.load` and TF Serving load it. It is written beside its
    place and moved there when whole, so that a server that polls `directory` never sees half a model.

    Args:
        model: A `SparseAutoencoder`, or the name or directory of a preset.
        directory: Folder of the model; TF Serving's `model_base_path`.
        version: Integer, at least 0. TF Serving serves the highest one.

    Returns:
        `pathlib.Path` of `directory/version`.

    Raises:
        FileExistsError: That version exists. A version that may be in use is never overwritten.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Example:

    >>> path = export(DenseAutoencoder(784, 100, sparsity=KSparse(k=10)), tempfile.mkdtemp())
    >>> served = tf.saved_model.load(path).signatures["encode"]
    >>> served(inputs=tf.zeros((3, 784)))["codes"].shape
    TensorShape([3, 100])
    """
    if isinstance(model, (str, os.PathLike)):
        model = SparseAutoencoder.from_preset(model)
    if not isinstance(model, SparseAutoencoder):
        raise TypeError(
            "`model` must be a SparseAutoencoder, or the name or directory of a preset. "
            f"Received: {model!r} of type {type(model).__name__}."
        )
    if isinstance(version, bool) or not hasattr(version, "__index__") or version < 0:
        raise ValueError(f"`version` must be an integer of at least 0, as TF Serving wants it. Received: version={version!r}.")
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "A SavedModel for TF Serving is written with the TensorFlow backend; Keras runs on "
            f"{keras.backend.backend()!r} here. Save the model with `save_to_preset`, and export it in a process with "
            "KERAS_BACKEND=tensorflow."
        )
    target = Path(directory).expanduser() / str(version)
    if target.exists():
        raise FileExistsError(f"{str(target)!r} exists, and a version is never overwritten. Give the next `version`.")
    target.parent.mkdir(parents=True, exist_ok=True)
    # TF Serving looks at folders with a number for a name only, so it does not see this one.
    with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=target.parent) as beside:
        draft = Path(beside) / "model"
        _write(model, draft)
        os.replace(draft, target)
    return target


def _write(model, path):
    import tensorflow as tf

    images, codes = model.encoder.inputs[0], model.decoder.inputs[0]
    image_spec = tf.TensorSpec((None, *images.shape[1:]), images.dtype, name="inputs")
    code_spec = tf.TensorSpec((None, *codes.shape[1:]), codes.dtype, name="codes")

    def encode(inputs):
        return {"codes": model.encoder(inputs, training=False)}

    def decode(codes):
        return {"reconstructions": model.decoder(codes, training=False)}

    def reconstruct(inputs):
        return {"reconstructions": model.decoder(model.encoder(inputs, training=False), training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, function, spec in (
        ("serving_default", encode, image_spec),
        ("encode", encode, image_spec),
        ("decode", decode, code_spec),
        ("reconstruct", reconstruct, image_spec),
    ):
        archive.add_endpoint(name, function, input_signature=[spec])
    archive.write_out(str(path), verbose=False)
