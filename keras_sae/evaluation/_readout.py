import keras
from keras import ops

from keras_sae._checks import check_integer
from keras_sae.layers import KSparse


def readout(model, layer="code", rectify=False, keep=None, subtract=False, pool=None):
    """A model that computes what a classifier reads of an encoder.

    This is the code, or the output of a layer before the selection, with another selection. What suits learning need not suit a
    classifier: winner-take-all autoencoders are read before the competition, with their maps pooled; k-sparse ones with more
    active units than in training, minus the largest inactive one. To make another reading part of a model, so that it is saved
    and exported, use the argument `features` of the models.

    Args:
        model: A `SparseAutoencoder`, or an encoder.
        layer: Name of the layer of the encoder whose output is read: `"code"`; or, in the models of this package, `"encode"`
            for the output before the selections.
        rectify: Whether negative entries become zero.
        keep: Integer, at least 1. At each position, this many of the largest units are kept and the others become zero.
        subtract: Whether the largest entry that is not kept is subtracted from those that are: a soft threshold.
        pool: Dictionary `{"size": 6, "strides": 4}` of a maximum over neighbouring positions. Windows at the edge are smaller.

    Returns:
        A functional `keras.Model` that shares the layers of the encoder.

    Raises:
        ValueError: The encoder has no such layer, too few units, or no positions to pool.

    Example:

    >>> encoder = keras.Sequential([keras.Input((3,)), keras.layers.Identity(name="encode"), KSparse(1)])
    >>> x = np.array([[5.0, 3.0, 2.0]], "float32")
    >>> print(keras.ops.convert_to_numpy(readout(encoder, layer="encode", keep=2, subtract=True)(x)))
    [[3. 1. 0.]]
    """
    encoder = getattr(model, "encoder", model)
    if layer == "code":
        outputs = encoder.outputs[0]
    elif layer in [each.name for each in encoder.layers]:
        outputs = encoder.get_layer(layer).output
    else:
        names = ", ".join(each.name for each in encoder.layers)
        raise ValueError(f"`layer` names a layer of the encoder to read. Received: layer={layer!r}; the layers are {names}.")
    units, positions = outputs.shape[-1], len(outputs.shape) - 2
    if rectify:
        outputs = ops.relu(outputs)
    if keep is not None:
        keep = check_integer("keep", keep, "counts the units kept at each position", at_most=units - bool(subtract))
        if subtract:
            outputs = ops.relu(outputs - ops.min(ops.top_k(outputs, keep + 1)[0], axis=-1, keepdims=True))
        else:
            outputs = KSparse(keep, name="keep")(outputs)
    elif subtract:
        raise ValueError(
            "`subtract` subtracts the largest unit that `keep` drops. Received: subtract=True without `keep`. Add `keep`."
        )
    if pool is not None:
        outputs = _pooled(outputs, positions, dict(pool))
    return keras.Model(encoder.inputs[0], outputs, name="readout")


reader = readout  # the earlier name


def _pooled(outputs, positions, pool):
    pooling = {1: keras.layers.MaxPooling1D, 2: keras.layers.MaxPooling2D, 3: keras.layers.MaxPooling3D}
    if positions not in pooling:
        raise ValueError(
            f"`pool` needs a code of maps. Received: pool={pool} for a code of shape {tuple(outputs.shape)}. Leave `pool` out."
        )
    if not {"size"} <= set(pool) <= {"size", "strides"}:
        raise ValueError(f"`pool` must have a `size` and may have `strides` (default: the size). Received: pool={pool}.")
    options = {"padding": "same", "data_format": "channels_last"}
    return pooling[positions](pool["size"], strides=pool.get("strides"), **options)(outputs)


def in_words(metadata):
    """What the features of a preset are made of, for its card."""
    features = metadata["recipe"]["model"].get("features")
    if not features:
        return "the code"
    if isinstance(features, list) or "class" in features:
        features = {"code": features}
    read = []
    for name, layers in features.items():
        layers = layers if isinstance(layers, list) else [layers]
        layer = "the code" if name == "code" else f"the output of the layer `{name}`"
        read.append(", ".join([layer, *(_layer_in_words(each) for each in layers)]))
    return f"`model.features`: {'; and '.join(read)}"


def _layer_in_words(layer):
    arguments = ", ".join(f"{key}={value!r}" for key, value in sorted(layer.items()) if key != "class")
    return f"`{layer['class']}({arguments})`"
