"""What users do to the layers of a model after it is made, as part of its config: freezing, quantisation, LoRA, dtypes."""

import weakref

import keras

from keras_sae.layers import TiedLayer
from keras_sae.models._quantize import refuse_calibration

_PARTS = ("encoder", "decoder", "corruption", "objective")
# The dtype policies that layers were made with, where that is known.
_made_with = weakref.WeakKeyDictionary()


def changes_of(model):
    """The changes to the layers of an autoencoder, as an entry of its config. Empty where nothing was changed.

    An entry `"changes"` is a list of `[path of the layer, what was done, value]`, in the order to do it again:

        ["encoder/encode", "dtype", "mixed_bfloat16"]
        ["encoder/encode", "quantize", {"mode": "int8", "config": ...}]
        ["encoder/encode", "enable_lora", {"rank": 4, "lora_alpha": 4}]
        ["decoder", "trainable", False]
    """
    layers = list(_walk(model))
    dtypes = [[path, "dtype", _config_of(_policy(layer))] for path, layer, _ in layers if _has_another_dtype(layer)]
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
    changes = [*dtypes, *quantized, *before, *frozen, *after]
    return {"changes": changes} if changes else {}


def apply_changes(model, changes):
    """Does the changes of a config to the layers of a new model. What its parts' own configs have done already stays."""
    layers = {path: layer for path, layer, _ in _walk(model)}
    for path, change, value in changes:
        layer = layers[path]
        if change == "trainable":
            type(layer).trainable.fset(layer, value)  # on TensorFlow, setting a flag to what it is does nothing
        elif change == "dtype":
            layer.dtype_policy = keras.saving.deserialize_keras_object(value)
        elif change == "quantize" and layer.quantization_mode is None:
            layer.quantize(value["mode"], config=keras.saving.deserialize_keras_object(value["config"]))
        elif change == "enable_lora" and not layer.lora_enabled:
            layer.enable_lora(**value)
        elif change == "enable_lora":
            layer.lora_alpha = value["lora_alpha"]  # the config of a layer of Keras has it, and `build` ignores it


def watch(model):
    """Notes the dtype policies of the layers of a new autoencoder, and lets them refuse what it could not keep."""
    for _, layer, _ in _walk(model):
        _made_with.setdefault(layer, _policy(layer))
        refuse_calibration(layer)


def config_of_part(part):
    """The Keras config of an encoder or decoder, whose layers `apply_changes` quantises again."""
    config = keras.saving.serialize_keras_object(part)
    _forget_float8(part, config["config"])
    return config


def _forget_float8(model, config):
    """Removes float8 from the config of layers that were quantised when they had weights already."""
    # Made in float8, a layer lists its scales first: `set_weights` and the state of an optimizer would not fit.
    for inner in config["layers"]:
        if inner["config"]["name"] not in {layer.name for layer in model.layers}:
            continue
        layer = model.get_layer(inner["config"]["name"])
        if isinstance(layer, keras.Model) and "layers" in inner["config"]:
            _forget_float8(layer, inner["config"])
        elif layer.quantization_mode == "float8" and not layer.weights[0].name.endswith("_scale"):
            inner["config"]["dtype"] = _config_of(_policy(layer))
            inner["config"].pop("quantization_config", None)


def original_dtype(layer):
    """The config of the dtype policy that a layer was made with."""
    return _config_of(_made_with.get(layer, _policy(layer)))


def adapted_layers(model):
    """The layers with LoRA."""
    return [layer for _, layer, _ in _walk(model) if getattr(layer, "lora_enabled", False)]


def training_flags(model):
    """Whether each layer of an autoencoder trains, and which weights do, by their ids."""
    return [layer.trainable for _, layer, _ in _walk(model)], {id(weight) for weight in model.trainable_weights}


def _policy(layer):
    """The dtype policy of a layer, without quantisation."""
    if layer.quantization_mode is None:
        return layer.dtype_policy
    return keras.dtype_policies.get(layer.dtype_policy.name.partition("_from_")[2])


def _config_of(policy):
    return keras.saving.serialize_keras_object(policy)


def _has_another_dtype(layer):
    """Whether the dtype policy of a layer was changed. Raises ValueError if its weights are of another type than it says."""
    policy, original = _policy(layer), _made_with.get(layer)
    if original is None or policy == original:
        return False
    if layer.weights and policy.variable_dtype != original.variable_dtype:
        raise ValueError(
            "A new dtype policy does not convert the weights of a layer, so no copy could be the same. Received: "
            f"dtype_policy={policy.name!r} for {layer.name!r}, whose weights are of type {original.variable_dtype}. Choose one "
            f"for such weights, such as 'mixed_bfloat16', or make the model with dtype={policy.name!r}."
        )
    return True


def _walk(model):
    """`(path, layer, whether what it is part of is trainable)` of the layers of an autoencoder."""
    for name in _PARTS:
        part = getattr(model, name, None)
        if part is not None:
            yield from _walk_in(name, part, model.trainable)
    for layer in model._feature_layers:
        yield from _walk_in(f"features/{layer.name}", layer, model.trainable)


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
