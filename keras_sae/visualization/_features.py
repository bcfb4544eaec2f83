import keras
import numpy as np

from keras_sae.visualization._figure import new_figure, without_channel_of_one


def decoder_features(model, units=None):
    """What the decoder draws for each unit: `decoder(unit alone) - decoder(nothing)`.

    For a linear decoder these are its rows, and any reconstruction is a weighted sum of them. A unit of a code of maps is
    alone at the position in the middle.

    Args:
        model: A `SparseAutoencoder`.
        units: Indices of units. All by default.

    Returns:
        float32 array of shape `(units, *input shape)`, each feature scaled to norm 1 (a unit that draws nothing stays 0).
    """
    shape = tuple(model.decoder.inputs[0].shape[1:])
    if None in shape:
        raise ValueError(
            f"Features are drawn for codes of known size. Received: a code of shape {shape}. Make the model for inputs of a "
            "fixed size."
        )
    units = np.arange(shape[-1]) if units is None else np.asarray(units)
    alone = np.zeros((len(units), *shape), "float32")
    alone[(np.arange(len(units)), *(size // 2 for size in shape[:-1]), units)] = 1
    drawn = keras.ops.convert_to_numpy(model.decoder(alone, training=False))
    drawn = drawn - keras.ops.convert_to_numpy(model.decoder(np.zeros((1, *shape), "float32"), training=False))
    norms = np.sqrt((drawn.reshape(len(drawn), -1) ** 2).sum(axis=1))
    return drawn / np.maximum(norms, 1e-12).reshape(-1, *[1] * (drawn.ndim - 1))


def plot_features(model, count=100, codes=None, figure=None):
    """Draws what the decoder draws for its units: zero is white, strokes are red, what they erase is blue.

    Args:
        model: A `SparseAutoencoder` of images. Of a code of maps, what is drawn is cut out.
        count: Integer, how many units to show.
        codes: Array of codes `(n, ..., units)` of some data. The units most active in it are shown, strongest first; without
            it, the first units.
        figure: A matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    width = model.decoder.inputs[0].shape[-1]
    order = np.arange(width) if codes is None else np.argsort(-_mean_of_units(codes), kind="stable")
    features = _cut_out(decoder_features(model, order[:count]))
    columns = int(np.ceil(np.sqrt(len(features))))
    rows = int(np.ceil(len(features) / columns))
    figure = figure or new_figure(0.6 * columns, 0.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, feature in zip(axes.flat, without_channel_of_one(features), strict=False):
        strongest = np.abs(feature).max() or 1.0
        if feature.ndim == 3:  # in colour, around grey
            axis.imshow(0.5 + feature / (2 * strongest), interpolation="nearest")
        else:
            axis.imshow(feature, cmap="RdBu_r", vmin=-strongest, vmax=strongest, interpolation="nearest")
    return figure


def _mean_of_units(codes):
    return np.abs(codes).mean(axis=tuple(range(np.ndim(codes) - 1)))


def _cut_out(features):
    """The part of the pictures in which any of them has something."""
    drawn = np.abs(features).max(axis=(0, *range(3, features.ndim))) > 0  # (height, width)
    if not drawn.any():
        return features
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    return features[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
