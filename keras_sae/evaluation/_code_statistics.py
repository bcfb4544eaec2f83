import keras
import numpy as np

from keras_sae.evaluation._encode import batches_of, encode
from keras_sae.metrics import ACTIVE_ABOVE, L0, DeadUnits, ExplainedVariance, MeanRate


def code_statistics(model, x, batch_size=1000):
    """Measures the codes and reconstructions of a model at inference.

    Args:
        model: A `SparseAutoencoder`.
        x: Array of inputs of shape `(n, ...)`, at least one. uint8 is divided by 255.
        batch_size: Integer, inputs per batch.

    Returns:
        Dictionary of plain numbers:
            `reconstruction_error`: mean squared error over inputs and their entries, after preprocessing;
            `explained_variance`: the share of the variance of the same that reconstructions explain, 1 at most, as in
            `keras_sae.metrics.ExplainedVariance`;
            `l0`: mean number of active units at a position;
            `mean_rate`: mean activation over positions and units;
            `dead_units`: number of units active at no position;
            `units`: width of the code;
            `active_above`: absolute value above which a unit counts as active: 0, or 0.1 for a code without exact zeros.
    """
    if len(x) == 0:
        raise ValueError(f"Statistics need at least one input. Received: an array of shape {x.shape}.")
    first = encode(model, next(batches_of(model.encoder, x, batch_size)))
    threshold = 0.0 if (first == 0).any() else ACTIVE_ABOVE
    units = first.shape[-1]
    l0, mean_rate, dead_units = L0(threshold), MeanRate(), DeadUnits(units, threshold)
    error, explained = keras.metrics.Mean(), ExplainedVariance()
    for inputs in batches_of(model.encoder, x, batch_size):
        code = model.encoder(inputs, training=False)
        for metric in (l0, mean_rate, dead_units):
            metric.update_state(code)
        reconstruction = keras.ops.convert_to_numpy(model.decoder(code, training=False))
        if model.preprocessing is not None:
            inputs = keras.ops.convert_to_numpy(model.preprocessing(inputs, training=False))
        error.update_state(np.square(reconstruction - inputs))
        explained.update_state(inputs, reconstruction)
    return {
        "reconstruction_error": float(error.result()),
        "explained_variance": float(explained.result()),
        "l0": float(l0.result()),
        "mean_rate": float(mean_rate.result()),
        "dead_units": int(dead_units.result()),
        "units": units,
        "active_above": threshold,
    }
