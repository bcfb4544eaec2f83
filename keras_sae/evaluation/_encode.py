import keras
import numpy as np

from keras_sae._pixels import as_input as as_input  # it is part of `keras_sae.evaluation`


def encode(model, x, batch_size=1000):
    """The codes of `x` as a float32 array of shape `(n, ..., units)`.

    Args:
        model: A `SparseAutoencoder`, or an encoder.
        x: Array of inputs, uint8 images or floats. uint8 is divided by 255.
        batch_size: Integer, inputs per batch.
    """
    encoder = getattr(model, "encoder", model)
    codes = [encoder(inputs, training=False) for inputs in inputs_of(x, batch_size)]
    return np.concatenate([keras.ops.convert_to_numpy(keras.ops.cast(code, "float32")) for code in codes])


def inputs_of(x, batch_size):
    """Batches of `x` as a model reads them."""
    for start in range(0, len(x), batch_size):
        yield as_input(x[start : start + batch_size])
