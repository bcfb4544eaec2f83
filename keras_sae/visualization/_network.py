import numpy as np

from keras_sae._checks import check_integer
from keras_sae.visualization._composition import as_array
from keras_sae.visualization._features import decoder_features, encoder_weights
from keras_sae.visualization._figure import new_figure

FADED = 0.12  # how opaque a silent unit is


def plot_network(model, x, entries=12, units=16, figure=None):
    """Draws an autoencoder as a network for one input: active units strong, silent ones faded.

    Args:
        model: A `SparseAutoencoder` whose code is a vector of units.
        x: One input, an array of the shape that the model reads.
        entries: Integer, at least 1. How many entries of the input and of the reconstruction to draw, from weak to strong.
        units: Integer, at least 1. How many units to draw: half of them are the most active ones, the others silent ones if
            the code has enough of both.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure: entries of the input, units, and entries of the reconstruction as circles, from left to right. A line is
        the weight between two of them, red where it is positive, blue where it is negative, and stronger for a larger one.
    """
    entries = check_integer("entries", entries, "is the number of entries to draw")
    units = check_integer("units", units, "is the number of units to draw")
    x = np.asarray(x, "float32")[None]
    code = as_array(model.encoder(x, training=False))[0]
    if code.ndim != 1:
        raise ValueError(f"A network is drawn of a model whose code is a vector. Received: a code of shape {code.shape}.")
    output = as_array(model.decoder(code[None], training=False)).reshape(-1)
    target = as_array(model.target_of(x)).reshape(-1)
    shown = np.sort(_spread(np.argsort(np.abs(target), kind="stable"), entries))
    drawn = _chosen_units(code, units)
    strength = np.abs(code[drawn]) / (np.abs(code).max() or 1)
    opacity = np.where(code[drawn] == 0, FADED, 0.3 + 0.7 * strength)
    decoding = decoder_features(model, drawn).reshape(len(drawn), -1)[:, shown]
    encoding = encoder_weights(model)
    encoding = encoding.reshape(len(encoding), -1)
    # The first layer is not that of the code in a deep model: its encoder is drawn by its decoder.
    fits = encoding.shape == (len(code), len(target))
    encoding = encoding[drawn][:, shown] if fits else decoding
    figure = figure or new_figure(6, 3.6)
    axis = figure.add_subplot()
    axis.axis("off")
    figure.suptitle(f"{np.count_nonzero(code):,} of {len(code):,} units are active", fontsize=10)
    heights = [_heights(len(shown)), _heights(len(drawn)), _heights(len(shown))]
    for left, weights in ((0, encoding), (1, decoding)):
        _draw_lines(axis, left, heights, weights, opacity)
    _draw_circles(axis, 0, heights[0], target[shown])
    _draw_circles(axis, 2, heights[2], output[shown])
    colours = np.where(code[drawn] < 0, "#2166ac", "#b2182b")
    axis.scatter(np.full(len(drawn), 1.0), heights[1], s=110, c=colours, alpha=opacity, zorder=3, linewidths=0, label="units")
    for place, title in enumerate(("input", "code", "reconstruction")):
        axis.text(place, 1.06, title, ha="center", fontsize=9)
    axis.set(xlim=(-0.2, 2.2), ylim=(-0.05, 1.12))
    return figure


def _spread(order, count):
    """Some of an order, at equal distances."""
    return order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def _chosen_units(code, count):
    """Indices of the units to draw, in their order."""
    order = np.argsort(-np.abs(code), kind="stable")
    active, silent = order[code[order] != 0], np.flatnonzero(code == 0)
    actives = min(len(active), max(-(-count // 2), count - len(silent)))
    silents = min(count - actives, len(silent))
    return np.sort(np.concatenate([active[:actives], _spread(silent, silents) if silents else silent[:0]]))


def _heights(count):
    return np.linspace(1, 0, count) if count > 1 else np.array([0.5])


def _draw_lines(axis, left, heights, weights, opacity):
    """Lines between entries and units. Those of units that are fainter are fainter too."""
    from matplotlib.collections import LineCollection

    share = np.abs(weights) / (np.abs(weights).max() or 1)
    lines, colours = [], []
    for unit, entry in np.ndindex(*weights.shape):
        ends = (
            [(left, heights[0][entry]), (1, heights[1][unit])] if left == 0 else [(1, heights[1][unit]), (2, heights[2][entry])]
        )
        lines.append(ends)
        red, green, blue = (0.13, 0.4, 0.67) if weights[unit, entry] < 0 else (0.7, 0.09, 0.17)
        colours.append((red, green, blue, 0.7 * share[unit, entry] * opacity[unit]))
    axis.add_collection(LineCollection(lines, colors=colours, linewidths=0.9))


def _draw_circles(axis, place, heights, values):
    """Entries of an input: white for 0, black for the largest."""
    largest = np.abs(values).max() or 1
    axis.scatter(
        np.full(len(heights), float(place)),
        heights,
        s=90,
        c=np.clip(np.abs(values) / largest, 0, 1),
        cmap="Greys",
        vmin=0,
        vmax=1,
        edgecolors="0.4",
        linewidths=0.7,
        zorder=3,
    )
