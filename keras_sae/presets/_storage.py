import importlib
import json
import time
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_sae._pixels import as_input
from keras_sae.presets._catalog import find
from keras_sae.presets._classes import check_classes
from keras_sae.presets._finite import check_finite
from keras_sae.presets._manifest import CARD, CONFIG, METADATA, REFERENCE, WEIGHTS, read_metadata, write_lines, write_metadata
from keras_sae.presets._replace import others, replacing
from keras_sae.presets._weights import check_weights, save_weights
from keras_sae.version import __version__


def save(model, directory, metadata=None, examples=None, card=None, files=None):
    """Saves a model as a preset. See `keras_sae.models.SparseAutoencoder.save_to_preset`.

    Args:
        card: The text of the card, `README.md`, or a function that makes it from the metadata.
        files: Dictionary from names of more files, such as pictures, to their content as bytes.
    """
    directory = Path(directory).expanduser().resolve()
    others(directory)  # a directory that is not replaced is refused before the work
    check_finite(model, "is not saved as a preset")
    if examples is not None:
        examples = _finite_examples(examples)
    with replacing(directory) as draft:
        config = keras.saving.serialize_keras_object(model)
        config.pop("compile_config", None)  # a preset is a model to use; how it was trained is in the metadata
        write_lines(draft / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
        save_weights(model, draft / WEIGHTS)
        if examples is not None:
            codes = _as_numpy(model.encoder(examples, training=False))
            reconstructions = _as_numpy(model.decoder(codes, training=False))
            if not (np.isfinite(codes).all() and np.isfinite(reconstructions).all()):
                raise ValueError(
                    f"The model {model.name!r} gives NaN or infinite codes or reconstructions of the `examples`, though its "
                    "weights are finite. Choose other examples, or scale them as in training."
                )
            arrays = {"inputs": examples, "codes": codes, "reconstructions": reconstructions}
            if _has_features(model):
                arrays["features"] = _as_numpy(model.features(examples, training=False))
            np.savez_compressed(draft / REFERENCE, **arrays)
        for name, content in (files or {}).items():
            (draft / name).write_bytes(content)
        metadata = {**(metadata or {}), **_description(model)}
        if card is not None:
            write_lines(draft / CARD, card(metadata) if callable(card) else card)
        write_metadata(draft, metadata)


def _finite_examples(examples):
    examples = as_input(examples).astype("float32")
    wrong = [index for index, each in enumerate(examples) if not np.isfinite(each).all()]
    if wrong:
        raise ValueError(
            "`examples` are stored with their codes, to test that the model still gives the same, and must be finite. "
            f"Received: NaN or infinite values in example {wrong[0]}. Choose other examples."
        )
    return examples


def load(preset, load_weights=True):
    """Loads a model from a preset. See `keras_sae.models.SparseAutoencoder.from_preset`."""
    for wait in (0, 0.05, 0.5):
        time.sleep(wait)
        directory = find(preset)
        before = _state(directory)
        try:
            model = _load(directory, load_weights)
        except (ValueError, OSError):
            if _state(directory) == before:
                raise
        else:
            if _state(directory) == before:
                return model
    raise ValueError(
        f"The preset {str(directory)!r} was replaced by another each time while it was being loaded. Try again when no process "
        "is writing it."
    )


def _load(directory, load_weights):
    metadata = read_metadata(directory)
    missing = [name for name in (CONFIG, WEIGHTS) if name not in metadata["files"]]
    if missing:
        raise ValueError(f"The preset {str(directory)!r} is incomplete: its metadata does not list {' and '.join(missing)}.")
    try:
        config = json.loads((directory / CONFIG).read_bytes())
        check_classes(config)
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise ValueError(f"it describes a {type(model).__name__}, which is not a model.")
    except Exception as error:  # Keras, NumPy and the backend raise all kinds for a wrong config
        raise ValueError(
            f"The model of the preset {str(directory)!r} cannot be built from its {CONFIG}: {error}\n"
            "Only classes of Keras and of keras_sae are allowed, and classes that you registered with "
            "`keras.saving.register_keras_serializable` before loading."
        ) from error
    if load_weights:
        check_weights(model, directory / WEIGHTS)
        model.load_weights(directory / WEIGHTS)
    return model


def _state(directory):
    """The bytes of the metadata, which change with any file of the preset."""
    try:
        return (directory / METADATA).read_bytes()
    except OSError:
        return None


def load_reference(preset):
    """The stored examples of a preset: a dictionary of arrays `inputs`, `codes`, `reconstructions` and, where they
    are not the codes, `features`; or None.
    """
    directory = find(preset)
    if REFERENCE not in read_metadata(directory)["files"]:
        return None
    try:
        with np.load(directory / REFERENCE, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{str(directory / REFERENCE)!r} is not a .npz file of arrays: {error}") from error


def read_files(preset, names):
    """The verified content of files of a preset: a dictionary from names to bytes, or None where one is not part of it."""
    directory = find(preset)
    if not set(names) <= read_metadata(directory)["files"].keys():
        return None
    return {name: (directory / name).read_bytes() for name in names}


def holds(directory, model):
    """Whether a directory is a preset of this model, with the same config and weights."""
    try:
        saved = load(Path(directory).expanduser())
    except (ValueError, OSError):
        return False
    if type(saved) is not type(model) or saved.get_config() != model.get_config() or len(saved.weights) != len(model.weights):
        return False
    pairs = zip(saved.weights, model.weights, strict=True)
    return all(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)


def _has_features(model):
    """Whether classifiers read something else than the code."""
    return model.features is not model.encoder


def _description(model):
    """The metadata that every preset has."""
    backend = keras.backend.backend()
    return {
        "class_name": type(model).__name__,
        "parameters": _count_parameters(model),
        "input_shape": list(model.encoder.inputs[0].shape[1:]),
        "code_shape": list(model.encoder.outputs[0].shape[1:]),
        **({"features_shape": list(model.features.outputs[0].shape[1:])} if _has_features(model) else {}),
        "packages": {
            "keras_sae": __version__,
            "keras": keras.version(),
            "numpy": np.__version__,
            backend: importlib.import_module(backend).__version__,
        },
    }


def _count_parameters(model):
    """How many numbers training sets, also where layers are frozen, quantised or adapted by LoRA."""
    config = model.get_config()
    if "changes" in config or not all(layer.trainable for layer in _layers_of(model)):
        model = type(model).from_config({name: value for name, value in config.items() if name != "changes"})
        model.trainable = True
        for layer in _layers_of(model):
            layer.trainable = True  # Keras leaves those in a Sequential that was made from a config as they are
    # The config of a custom encoder holds what is quantised or adapted. The kernel counts, not what it is stored as.
    special = [layer for layer in _layers_of(model) if hasattr(layer, "kernel") and _is_quantized_or_adapted(layer)]
    stored = {id(weight) for layer in special for weight in layer.weights}
    counted = [weight for weight in model.trainable_weights if id(weight) not in stored]
    counted += [each for layer in special for each in (layer.kernel, layer.bias) if each is not None]
    return int(sum(np.prod(weight.shape, dtype=int) for weight in counted))


def _is_quantized_or_adapted(layer):
    return layer.quantization_mode is not None or getattr(layer, "lora_enabled", False)


def _layers_of(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers_of(layer)


def _as_numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
