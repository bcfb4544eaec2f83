"""The argument `center`: autoencoders that subtract the mean of their data at the input, and add it at the output."""

import keras

from keras_sae.layers import AddMean, SubtractMean, selections_of
from keras_sae.models._preprocessing import preprocessing_layers


def mean_layer(encoder):
    """The layer of an encoder that subtracts the mean of what it reconstructs, or None."""
    before = preprocessing_layers(encoder)
    return next((layer for layer in encoder.layers if isinstance(layer, SubtractMean) and layer not in before), None)


def resolve_center(center, selections, preprocessing=None):
    """The argument `center` as a boolean: by default, whether a selection makes the code and nothing else precedes it."""
    if center is None:
        return bool(selections) and not preprocessing
    if center not in (True, False):
        raise ValueError(
            "`center` says whether the model subtracts the mean of the data: True, False, or None for the default. "
            f"Received: center={center!r}."
        )
    return bool(center)


def center_config(encoder):
    """The argument `center` for the config of a model; nothing where it is off and would be off by default."""
    center = mean_layer(encoder) is not None
    return {"center": center} if center or selections_of(encoder) else {}


def subtract_mean(inputs, per, dtype):
    """The symbolic input of an encoder, centred."""
    return SubtractMean(per, name="subtract_mean", dtype=dtype)(inputs)


def add_mean(encoder, outputs, activation, dtype):
    """The symbolic output of a decoder with the mean that the encoder subtracts.

    An activation other than linear gives the range of the output, which a sum would leave: its layer has a bias instead.
    """
    layer = mean_layer(encoder)
    if layer is None or keras.activations.get(activation) is not keras.activations.linear:
        return outputs
    return AddMean(layer, name="add_mean", dtype=dtype)(outputs)
