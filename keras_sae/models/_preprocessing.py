"""What an encoder does with its input before the first layer that trains. The decoder reconstructs the result."""

import keras

from keras_sae.models._sparsity import read_layers

PREPROCESSED = "preprocessed"
# Layers that an architecture adds, so that dense preprocessing reads vectors.
_ADDED = ("flatten_inputs", "restore_inputs")


def preprocess(inputs, preprocessing, dtype, flat=False):
    """The symbolic input of an encoder, preprocessed. The result comes from a layer named "preprocessed".

    Args:
        inputs: Symbolic tensor.
        preprocessing: The argument of the model: a layer, a list of layers, or their Keras configs; None or [] for none.
        dtype: Dtype policy of the layers that are made here.
        flat: Whether the layers read each input as a vector. Where they keep its size, its shape is restored.
    """
    layers = read_layers("preprocessing", preprocessing)
    if not layers:
        return inputs
    outputs = inputs
    if flat and len(inputs.shape) > 2:
        outputs = keras.layers.Flatten("channels_last", name=_ADDED[0], dtype=dtype)(outputs)
    size = outputs.shape[-1]
    for layer in layers:
        outputs = layer(outputs)
    if flat and len(inputs.shape) > 2 and outputs.shape[1:] == (size,):
        outputs = keras.layers.Reshape(inputs.shape[1:], name=_ADDED[1], dtype=dtype)(outputs)
    if not flat and len(outputs.shape) != len(inputs.shape):
        raise ValueError(
            "`preprocessing` of a convolutional autoencoder must keep the number of axes: the convolutions read its result. "
            f"Received: layers that give the shape {tuple(outputs.shape)} for inputs of shape {tuple(inputs.shape)}."
        )
    return keras.layers.Identity(name=PREPROCESSED, dtype=dtype)(outputs)


def preprocessing_of(encoder):
    """The functional model from the input of an encoder to what its decoder reconstructs, or None for the input itself."""
    layer = next((layer for layer in encoder.layers if layer.name == PREPROCESSED), None)
    return None if layer is None else keras.Model(encoder.inputs[0], layer.output, name="preprocessing")


def preprocessing_layers(encoder):
    """The layers of the argument `preprocessing`, a list."""
    names = [layer.name for layer in encoder.layers]
    if PREPROCESSED not in names:
        return []
    before = encoder.layers[: names.index(PREPROCESSED)]
    return [layer for layer in before if not isinstance(layer, keras.layers.InputLayer) and layer.name not in _ADDED]


def preprocessing_config(encoder):
    """The argument `preprocessing` for the config of a model, where there is one."""
    configs = [keras.saving.serialize_keras_object(layer) for layer in preprocessing_layers(encoder)]
    return {"preprocessing": configs} if configs else {}


def shape_to_encode(encoder):
    """The shape, without the batch axis, of what the decoder reconstructs."""
    layer = next((layer for layer in encoder.layers if layer.name == PREPROCESSED), None)
    return tuple((encoder.inputs[0] if layer is None else layer.output).shape[1:])
