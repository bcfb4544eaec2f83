"""Dictionaries that learned units must beat: random samples, and the centres of k-means."""

import numpy as np

from keras_sae.models import samples_of, set_units

# Samples that k-means learns from, and the rows that it reads at a time.
_SAMPLES = 100_000
_ROWS = 4096
_STEPS = 10
# Samples are centred already if their mean has less than this share of their mean square.
_CENTRED = 0.01


def start_from(kind, model, x, seed=0):
    """Sets the units of each level of a model to those of a dictionary, of norm 1. Upper levels read the levels below.

    Units respond to what deviates from the mean sample. Otherwise, units of pixels that are all above 0 would respond to every
    input, and a ReLU would change nothing:

        response_j = unit_j @ (x - mean)        kernel_j = unit_j,  bias_j = -unit_j @ mean

    Args:
        kind: `"samples"` for what a level reads at random places of random inputs, such as random patches; `"k_means"` for
            centres of k-means that start there.
        model: A `SparseAutoencoder`, adapted to its data.
        x: Array of training inputs.
        seed: Integer that fixes the samples.
    """
    levels = [layer for layer in model.encoder.layers if hasattr(layer, "kernel") and hasattr(layer, "bias")]
    if not levels:
        raise ValueError(
            'The baselines "samples" and "k_means" set the kernels of dense layers and convolutions, and the encoder has none. '
            f"Received: {type(model).__name__} with the layers {', '.join(layer.name for layer in model.encoder.layers)}."
        )
    both_signs = any(getattr(each, "select_by", "value") == "magnitude" for each in model.selections)
    for layer in levels:
        units = samples_of(model, x, layer.kernel.shape[-1], layer.name, seed)
        many = samples_of(model, x, _SAMPLES, layer.name, seed + 1)
        mean = many.mean(axis=0)
        if layer.bias is None or mean @ mean < _CENTRED * np.mean(np.square(many).sum(axis=1)):
            mean = np.zeros_like(mean)
        units = units - mean
        if kind == "k_means":
            units = k_means(many - mean, units, both_signs)
        set_units(layer, units, mean)


def k_means(samples, centres, both_signs=False, steps=_STEPS):
    """Spherical k-means: each sample belongs to the centre with the largest inner product, and centres have norm 1.

        centre_j = normalise(sum of (sample @ centre_j) * sample over the samples that belong to it)

    Samples of much contrast count more. A centre that no sample belongs to stays.

    Args:
        samples: Array `(n, entries)`.
        centres: Array `(units, entries)` to start from.
        both_signs: Whether a sample belongs to the centre with the largest inner product by size, also a negative one.
        steps: Integer, how often centres move.

    Returns:
        float32 array `(units, entries)`.

    Reference:
        Coates and Ng, "Learning Feature Representations with K-means", 2012.
    """
    centres = _of_norm_1(np.asarray(centres, "float32"))
    for _ in range(steps):
        sums = np.zeros_like(centres)
        for start in range(0, len(samples), _ROWS):
            rows = samples[start : start + _ROWS]
            products = rows @ centres.T  # (rows, units)
            nearest = (np.abs(products) if both_signs else products).argmax(axis=1)
            np.add.at(sums, nearest, rows * products[np.arange(len(rows)), nearest, None])
        moved = np.linalg.norm(sums, axis=1) > 0
        centres[moved] = _of_norm_1(sums[moved])
    return centres


def _of_norm_1(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
