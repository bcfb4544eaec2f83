import keras
import numpy as np

from keras_sae.metrics import L0, DeadUnits, MeanRate

# Above this a unit counts as active where no entry of a code is exactly zero, as with sigmoid units.
ACTIVE_ABOVE = 0.1


def encode(model, x, batch_size=1000):
    """The codes of `x` as a float32 array of shape `(n, ..., units)`.

    Args:
        model: A `SparseAutoencoder`, or an encoder.
        x: Array of inputs, uint8 images or floats. uint8 is divided by 255.
        batch_size: Integer, inputs encoded at a time.
    """
    encoder = getattr(model, "encoder", model)
    batches = [encoder(as_input(x[start : start + batch_size]), training=False) for start in _starts(x, batch_size)]
    return np.concatenate([keras.ops.convert_to_numpy(keras.ops.cast(batch, "float32")) for batch in batches])


def code_statistics(model, x, batch_size=1000):
    """Measures the codes and reconstructions of a model, as at inference.

    Args:
        model: A `SparseAutoencoder`.
        x: Array of inputs of shape `(n, ...)`, at least one. uint8 is divided by 255.
        batch_size: Integer, inputs at a time.

    Returns:
        Dictionary of plain numbers:
            `reconstruction_error`: mean squared error over inputs and their entries;
            `l0`: mean number of active units at a position;
            `mean_rate`: mean activation over positions and units;
            `dead_units`: number of units active at no position;
            `units`: width of the code;
            `active_above`: absolute value above which a unit counts as active: 0, or 0.1 for a code in which nothing is
            exactly zero.
    """
    if len(x) == 0:
        raise ValueError("Statistics need at least one input. Received: an empty array.")
    first = encode(model, x[:batch_size])
    threshold = 0.0 if (first == 0).any() else ACTIVE_ABOVE
    units = first.shape[-1]
    l0, mean_rate, dead_units = L0(threshold), MeanRate(), DeadUnits(units, threshold)
    error = keras.metrics.Mean()
    for start in _starts(x, batch_size):
        inputs = as_input(x[start : start + batch_size])
        code = model.encoder(inputs, training=False)
        for metric in (l0, mean_rate, dead_units):
            metric.update_state(code)
        reconstruction = keras.ops.convert_to_numpy(model.decoder(code, training=False))
        error.update_state(np.square(reconstruction - inputs))
    return {
        "reconstruction_error": float(error.result()),
        "l0": float(l0.result()),
        "mean_rate": float(mean_rate.result()),
        "dead_units": int(dead_units.result()),
        "units": units,
        "active_above": threshold,
    }


def as_input(x):
    """What a model reads: uint8 images divided by 255, and anything else as it is."""
    return x.astype("float32") / np.float32(255) if x.dtype == np.uint8 else x


def _starts(x, batch_size):
    return range(0, len(x), batch_size)
