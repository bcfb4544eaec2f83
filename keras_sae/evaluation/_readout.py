import keras
from keras import ops

from keras_sae.layers import KSparse


def reader(model, layer="code", rectify=False, keep=None, subtract=False, pool=None):
    """What a probe reads of an encoder: its code, or what a layer before the selection leaves, selected in another way.

    A selection that suits learning need not suit a classifier: winner-take-all autoencoders are read before the competition,
    their maps pooled, and k-sparse ones with more units than were trained, less the largest of those left out.

    Args:
        model: A `SparseAutoencoder`, or an encoder.
        layer: Name of the layer of the encoder whose output is read: `"code"`, or `"encode"` for what comes before the
            selections, in the models of this package.
        rectify: Whether entries below zero become zero.
        keep: Integer, at least 1. At each position that many of the largest units stay, and the others become zero.
        subtract: Whether the largest entry that does not stay is subtracted from those that do, a soft threshold.
        pool: Dictionary `{"size": 6, "strides": 4}` of a maximum over neighbouring positions; at the edges over what is there.

    Returns:
        A functional `keras.Model`, which shares the layers of the encoder.

    Raises:
        ValueError: There is no such layer, or it has not so many units, or no positions to pool.

    Example:

    >>> encoder = keras.Sequential([keras.Input((3,)), keras.layers.Identity(name="encode"), KSparse(1)])
    >>> x = np.array([[5.0, 3.0, 2.0]], "float32")
    >>> print(keras.ops.convert_to_numpy(reader(encoder, layer="encode", keep=2, subtract=True)(x)))
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
        most = units - bool(subtract)
        if isinstance(keep, bool) or not hasattr(keep, "__index__") or not 1 <= keep <= most:
            raise ValueError(
                f"`keep` counts the units that stay at each position, at least 1 and here at most {most}. "
                f"Received: keep={keep!r}."
            )
        if subtract:
            outputs = ops.relu(outputs - ops.min(ops.top_k(outputs, keep + 1)[0], axis=-1, keepdims=True))
        else:
            outputs = KSparse(keep, name="keep")(outputs)
    elif subtract:
        raise ValueError("`subtract` needs to know how many units stay. Received: subtract=True without `keep`.")
    if pool is not None:
        outputs = _pooled(outputs, positions, dict(pool))
    return keras.Model(encoder.inputs[0], outputs, name="reader")


def _pooled(outputs, positions, pool):
    pooling = {1: keras.layers.MaxPooling1D, 2: keras.layers.MaxPooling2D, 3: keras.layers.MaxPooling3D}
    if positions not in pooling:
        raise ValueError(f"`pool` is for maps, and this code has none: its shape is {tuple(outputs.shape)}.")
    if not {"size"} <= set(pool) <= {"size", "strides"}:
        raise ValueError(f"`pool` has a `size` and perhaps `strides`, by default the same. Received: pool={pool}.")
    options = {"padding": "same", "data_format": "channels_last"}
    return pooling[positions](pool["size"], strides=pool.get("strides"), **options)(outputs)
