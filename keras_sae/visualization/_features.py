import keras
import numpy as np

from keras_sae.visualization._figure import new_figure, without_channel_of_one


def decoder_features(model, units=None):
    """What each unit adds to a reconstruction: `decoder(code with this unit alone) - decoder(zeros)`.

    For a linear decoder these are its rows, and every reconstruction is a weighted sum of them. In a code of maps, the unit is
    active at the middle position alone.

    Args:
        model: A `SparseAutoencoder`.
        units: Indices of units. All by default.

    Returns:
        float32 array of shape `(units, *input shape)`, each feature scaled to norm 1 (or all 0 if the unit has no effect).
    """
    shape = tuple(model.decoder.inputs[0].shape[1:])
    if None in shape:
        raise ValueError(
            f"Features need a code of known shape. Received: a code of shape {shape}. Build the model for inputs of a fixed "
            "size."
        )
    units = np.arange(shape[-1]) if units is None else np.asarray(units)
    alone = np.zeros((len(units), *shape), "float32")
    alone[(np.arange(len(units)), *(size // 2 for size in shape[:-1]), units)] = 1
    drawn = keras.ops.convert_to_numpy(model.decoder(alone, training=False))
    drawn = drawn - keras.ops.convert_to_numpy(model.decoder(np.zeros((1, *shape), "float32"), training=False))
    norms = np.sqrt((drawn.reshape(len(drawn), -1) ** 2).sum(axis=1))
    return drawn / np.maximum(norms, 1e-12).reshape(-1, *[1] * (drawn.ndim - 1))


def plot_features(model, count=100, codes=None, figure=None):
    """Draws the features of units (`decoder_features`): positive values red, negative values blue, zero white.

    Args:
        model: A `SparseAutoencoder` of images. Features of a code of maps are cropped to the pixels that they change.
        count: Integer, how many units to show.
        codes: Array of codes `(n, ..., units)` of some data. Shows the most active units in it, strongest first. By default
            the first units.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

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
        if feature.ndim == 3:  # in colour, with zero as grey
            axis.imshow(0.5 + feature / (2 * strongest), interpolation="nearest")
        else:
            axis.imshow(feature, cmap="RdBu_r", vmin=-strongest, vmax=strongest, interpolation="nearest")
    return figure


def _mean_of_units(codes):
    return np.abs(codes).mean(axis=tuple(range(np.ndim(codes) - 1)))


def _cut_out(features):
    """The pictures, cropped to where any of them is not zero."""
    drawn = np.abs(features).max(axis=(0, *range(3, features.ndim))) > 0  # (height, width)
    if not drawn.any():
        return features
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    return features[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
