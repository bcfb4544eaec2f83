import keras
import numpy as np


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


def as_input(x):
    """What a model reads: uint8 images divided by 255, anything else unchanged."""
    return x.astype("float32") / np.float32(255) if x.dtype == np.uint8 else x
