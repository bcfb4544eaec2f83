"""What users do to the layers of a model after it is made, freezing, quantisation and LoRA, as part of its config."""

import keras

from keras_sae.layers import TiedLayer

_PARTS = ("encoder", "decoder", "corruption", "objective")


def changes_of(model):
    """The changes to the layers of an autoencoder, as an entry of its config. Empty where nothing was changed.

    An entry `"changes"` is a list of `[path of the layer, what was done, value]`, in the order to do it again:

        ["encoder/encode", "quantize", {"mode": "int8", "config": ...}]
        ["encoder/encode", "enable_lora", {"rank": 4, "lora_alpha": 4}]
        ["decoder", "trainable", False]
    """
    layers = list(_walk(model))
    quantized = [[path, "quantize", _quantization(layer)] for path, layer, _ in layers if _is_quantized(layer)]
    frozen = [[path, "trainable", layer.trainable] for path, layer, around in layers if layer.trainable != around]
    # A kernel that two layers share obeys the one that was set last.
    tied = [layer for _, layer, _ in layers if isinstance(layer, TiedLayer) and not layer.trainable]
    thawed = [layer.tied_to for layer in tied if layer.tied_to.trainable and layer.kernel_trains]
    frozen += [[path, "trainable", True] for path, layer, _ in layers if any(layer is other for other in thawed)]
    adapted = [(path, layer) for path, layer, _ in layers if getattr(layer, "lora_enabled", False)]
    before, after = [], []
    for path, layer in adapted:
        # Keras lets LoRA train in a layer that was frozen before.
        order = before if layer.trainable == layer.lora_kernel_a.trainable else after
        order.append([path, "enable_lora", {"rank": layer.lora_rank, "lora_alpha": layer.lora_alpha}])
    changes = [*quantized, *before, *frozen, *after]
    return {"changes": changes} if changes else {}


def apply_changes(model, changes):
    """Does the changes of a config to the layers of a new model. What its parts' own configs have done already stays."""
    layers = {path: layer for path, layer, _ in _walk(model)}
    for path, change, value in changes:
        layer = layers[path]
        if change == "trainable":
            layer.trainable = value
        elif change == "quantize" and layer.quantization_mode is None:
            layer.quantize(value["mode"], config=keras.saving.deserialize_keras_object(value["config"]))
        elif change == "enable_lora" and not layer.lora_enabled:
            layer.enable_lora(**value)


def original_dtype(layer):
    """The config of the dtype policy that a layer had before it was quantised."""
    name = layer.dtype_policy.name
    if layer.quantization_mode is None:
        return keras.saving.serialize_keras_object(layer.dtype_policy)
    return keras.saving.serialize_keras_object(keras.dtype_policies.get(name.partition("_from_")[2]))


def _walk(model):
    """`(path, layer, whether what it is part of is trainable)` of the layers of an autoencoder."""
    for name in _PARTS:
        part = getattr(model, name, None)
        if part is not None:
            yield from _walk_in(name, part, model.trainable)


def _walk_in(path, layer, trainable):
    yield path, layer, trainable
    for inner in layer.layers if isinstance(layer, keras.Model) else ():
        if not isinstance(inner, keras.layers.InputLayer):  # they have nothing to train
            yield from _walk_in(f"{path}/{inner.name}", inner, layer.trainable)


def _is_quantized(layer):
    return not isinstance(layer, keras.Model) and layer.quantization_mode is not None


def _quantization(layer):
    config = getattr(layer, "quantization_config", None)
    return {"mode": layer.quantization_mode, "config": keras.saving.serialize_keras_object(config)}
