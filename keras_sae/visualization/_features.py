import keras
import numpy as np

from keras_sae.layers import Patches
from keras_sae.visualization._figure import check_drawn, draw, new_figure


def decoder_features(model, units=None):
    """What each unit adds to a reconstruction: `decoder(code with this unit alone) - decoder(zeros)`.

    For a linear decoder these are its rows, and every reconstruction is a weighted sum of them. In a code of maps, the unit is
    active at the middle position alone. Of a model that begins with `Patches`, they are patches, as they are after the
    preprocessing: whitened, for example.

    Args:
        model: A `SparseAutoencoder`.
        units: Indices of units. All by default.

    Returns:
        float32 array of shape `(units, *input shape)`, each feature scaled to norm 1 (or all 0 if the unit has no effect).
        Where the model reads images of any size, as small as a unit reaches; where it cuts `Patches`, of the shape of a patch.
    """
    shape = tuple(model.decoder.inputs[0].shape[1:])
    patches = model.encoder.layers[1] if isinstance(model.encoder.layers[1], Patches) else None
    if patches:
        shape = (*[1] * (len(shape) - 1), shape[-1])  # one patch, which a unit changes alone
    shape = tuple(size or _reach(model.decoder) for size in shape)
    units = np.arange(shape[-1]) if units is None else np.asarray(units)
    alone = np.zeros((len(units), *shape), "float32")
    alone[(np.arange(len(units)), *(size // 2 for size in shape[:-1]), units)] = 1
    drawn = keras.ops.convert_to_numpy(model.decoder(alone, training=False))
    drawn = drawn - keras.ops.convert_to_numpy(model.decoder(np.zeros((1, *shape), "float32"), training=False))
    if patches:
        axes = len(shape) - 1
        drawn = drawn.reshape(len(drawn), *[patches.size] * axes, model.encoder.inputs[0].shape[-1])
    norms = np.sqrt((drawn.reshape(len(drawn), -1) ** 2).sum(axis=1))
    return drawn / np.maximum(norms, 1e-12).reshape(-1, *[1] * (drawn.ndim - 1))


def _reach(decoder):
    """How many positions a unit draws on, along an axis of a code of unknown size."""
    kernels = [getattr(layer, "tied_to", layer) for layer in decoder.layers]
    return 1 + sum(max(getattr(layer, "kernel_size", (1,))) - 1 for layer in kernels)


def plot_features(model, count=100, codes=None, figure=None):
    """Draws the features of units (`decoder_features`).

    Of images, positive values are red, negative values blue, and zero is white; in colour, zero is grey. Of vectors and
    series, values are drawn over their columns or steps.

    Args:
        model: A `SparseAutoencoder` of vectors `(columns,)`, of series `(steps, channels)`, with a line for each channel, or
            of images `(height, width)` or `(height, width, channels)` of 1 or 3 channels. Features of a code of maps are
            cropped to the pixels or steps that they change.
        count: Integer, how many units to show.
        codes: Array of codes `(n, ..., units)` of some data. Shows the most active units in it, strongest first. By default
            the first units.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    width = model.decoder.inputs[0].shape[-1]
    order = np.arange(width) if codes is None else np.argsort(-_mean_of_units(codes), kind="stable")
    features = decoder_features(model, order[:count])
    kind = check_drawn(features.shape[1:])
    features = cut_out(features, kind)
    columns = int(np.ceil(np.sqrt(len(features))))
    rows = int(np.ceil(len(features) / columns))
    figure = figure or new_figure(0.6 * columns, 0.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, feature, strongest in zip(axes.flat, features, full_scale(features).ravel(), strict=False):
        draw(axis, feature, kind, -strongest, strongest, "RdBu_r")
    return figure


def _mean_of_units(codes):
    return np.abs(codes).mean(axis=tuple(range(np.ndim(codes) - 1)))


def full_scale(features):
    """The value of each feature `(n, *shape)` that is drawn strongest, 1 for a blank one.

    In colour it is the 98th percentile of absolute values: one bright pixel would leave the rest grey.
    """
    flat = np.abs(features).reshape(len(features), -1)
    in_colour = features.ndim == 4 and features.shape[-1] == 3
    strongest = np.quantile(flat, 0.98, axis=1) if in_colour else flat.max(axis=1)
    return np.where(strongest > 0, strongest, 1).reshape(-1, *[1] * (features.ndim - 1))


def cut_out(features, kind):
    """The features, cropped to the pixels or steps where any of them is not zero."""
    for axis in {"vector": (), "series": (1,), "image": (1, 2)}[kind]:
        others = tuple(other for other in range(features.ndim) if other != axis)
        drawn = np.flatnonzero(np.abs(features).max(axis=others) > 0)
        if len(drawn):
            features = np.take(features, np.arange(drawn[0], drawn[-1] + 1), axis=axis)
    return features
