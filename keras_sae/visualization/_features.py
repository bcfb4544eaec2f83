import keras
import numpy as np

from keras_sae.visualization._figure import check_drawn, draw, grid, mean_of_units
from keras_sae.visualization._patch_shapes import patches_of

_ENTRIES = 2**25  # of codes that are in memory at a time


def decoder_features(model, units=None):
    """What each unit adds to a reconstruction: `decoder(code with this unit alone) - decoder(zeros)`.

    For a linear decoder these are its rows, and every reconstruction is a weighted sum of them. In a code of maps, the unit is
    active at the middle position alone. Of a model whose preprocessing cuts `Patches`, they are patches, as they are after the
    preprocessing: whitened, for example.

    Args:
        model: A `SparseAutoencoder`.
        units: Indices of units. All by default.

    Returns:
        float32 array of shape `(units, *input shape)`, each feature scaled to norm 1 (or all 0 if the unit has no effect).
        Where the model reads images of any size, as small as a unit reaches; where it cuts `Patches`, of the shape of a patch.
    """
    shape = tuple(model.decoder.inputs[0].shape[1:])
    patches = patches_of(model)
    if patches and None in shape:
        shape = (*[1] * (len(shape) - 1), shape[-1])  # one patch, which a unit changes alone
    shape = tuple(size or _reach(model.decoder) for size in shape)
    units = np.arange(shape[-1]) if units is None else np.asarray(units)
    middle = tuple(size // 2 for size in shape[:-1])
    nothing = keras.ops.convert_to_numpy(model.decoder(np.zeros((1, *shape), "float32"), training=False))
    parts, block = [], max(1, _ENTRIES // int(np.prod(shape)))
    for start in range(0, len(units), block):
        alone = np.zeros((len(units[start : start + block]), *shape), "float32")
        alone[(np.arange(len(alone)), *middle, units[start : start + block])] = 1
        drawn = keras.ops.convert_to_numpy(model.decoder(alone, training=False)) - nothing
        parts.append(drawn[(slice(None), *middle)] if patches else drawn)
    drawn = np.concatenate(parts) if parts else nothing[:0]
    if patches:
        drawn = drawn.reshape(len(drawn), *[patches.size] * len(middle), -1)
    norms = np.sqrt((drawn.reshape(len(drawn), -1) ** 2).sum(axis=1))
    return drawn / np.maximum(norms, 1e-12).reshape(-1, *[1] * (drawn.ndim - 1))


def _reach(decoder):
    """How many positions a unit draws on, along an axis of a code of unknown size."""
    kernels = [getattr(layer, "tied_to", layer) for layer in decoder.layers]
    return 1 + sum(max(getattr(layer, "kernel_size", (1,))) - 1 for layer in kernels)


def encoder_weights(model, units=None):
    """The weights by which the first layer of the encoder reads its inputs, the inputs that excite its units most.

    Of all inputs with norm 1, `weights[unit]` excites a unit of a dense layer most. For a convolution they are its kernels.
    Where a model preprocesses its inputs, they apply to the result.

    Args:
        model: A `SparseAutoencoder`.
        units: Indices of units of the first layer that has a kernel. All by default.

    Returns:
        float32 array of shape `(units, *input shape)`, or `(units, *kernel size, channels)` for a convolution, each scaled to
        norm 1.

    Reference:
        Ng, "Sparse autoencoder", CS294A lecture notes, 2011, section 4.
    """
    layer = next((layer for layer in model.encoder.layers if hasattr(layer, "kernel")), None)
    if layer is None:
        raise ValueError(
            f"No layer of the encoder has a kernel. Received: layers {[each.name for each in model.encoder.layers]}."
        )
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(layer.kernel, "float32"))
    weights = np.moveaxis(kernel, -1, 0)
    if units is not None:
        weights = weights[np.asarray(units)]
    shape = model.encoder.inputs[0].shape[1:]
    if weights.ndim == 2 and None not in shape and weights.shape[1] == np.prod(shape):
        weights = weights.reshape(-1, *shape)
    norms = np.sqrt((weights.reshape(len(weights), -1) ** 2).sum(axis=1))
    return weights / np.maximum(norms, 1e-12).reshape(-1, *[1] * (weights.ndim - 1))


def plot_weights(model, count=100, columns=None, figure=None):
    """Draws the weights of the first layer of the encoder (`encoder_weights`), as `plot_features` draws features.

    Args:
        model: A `SparseAutoencoder`.
        count: Integer, how many units to show.
        columns: As in `plot_features`.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    weights = encoder_weights(model)
    title = f"Encoder weights: {min(count, len(weights)):,} of {len(weights):,} units"
    return draw_tiles(weights[:count], title, columns, figure)


def plot_features(model, count=100, codes=None, figure=None, columns=None):
    """Draws the features of units (`decoder_features`).

    Of images, positive values are red, negative values blue, and zero is white; in colour, zero is grey. Of vectors and
    series, values are drawn over their columns or steps.

    Args:
        model: A `SparseAutoencoder` of vectors `(columns,)`, of series `(steps, channels)`, with a line for each channel, or
            of images `(height, width)` or `(height, width, channels)` of 1 or 3 channels. Features of a code of maps are
            cropped to the pixels or steps that they change.
        count: Integer, how many units to show.
        codes: Array of codes `(n, ..., units)` of some data. Shows the most active units in it, strongest first, and leaves
            out those that are active in none of it: dead ones have learned nothing. By default the first units.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.
        columns: List of strings, the names of the columns of a table. Each unit is then drawn as bars of the six columns
            that it changes most.

    Returns:
        The figure.
    """
    width = model.decoder.inputs[0].shape[-1]
    order = np.arange(width)
    title = f"{min(count, width):,} of {width:,} units"
    if codes is not None:
        means = mean_of_units(codes)
        order = np.argsort(-means, kind="stable")
        alive = np.count_nonzero(means)
        order = order[: alive or width]
        title = f"The {min(count, len(order)):,} most active of {width:,} units"
        if alive < width:
            title += f"; {width - alive:,} are active in none of {len(codes):,} samples"
    return draw_tiles(decoder_features(model, order[:count]), title, columns, figure, order)


def draw_tiles(features, title, columns=None, figure=None, units=None):
    """Draws features `(n, *shape)` in a grid, each on a scale of its own."""
    kind = check_drawn(features.shape[1:])
    if columns is not None and (kind != "vector" or len(columns) != features.shape[1]):
        raise ValueError(
            f"`columns` names the columns of a table, one for each. Received: {len(columns)} names for samples of shape "
            f"{features.shape[1:]}."
        )
    features = cut_out(features, kind)
    width, height = {"vector": (1.6, 0.9), "series": (1.6, 0.9), "image": (0.6, 0.6)}[kind] if columns is None else (2.4, 1.3)
    figure, axes = grid(len(features), width, height, title, figure)
    scales = full_scale(features).ravel()
    for place, (axis, feature, strongest) in enumerate(zip(axes, features, scales, strict=False)):
        if columns is None:
            draw(axis, feature, kind, -strongest, strongest, "RdBu_r")
        else:
            _draw_columns(axis, feature, columns, f"unit {place if units is None else units[place]}")
    return figure


def _draw_columns(axis, feature, columns, title):
    """Bars of the six columns that a feature changes most, the strongest above."""
    order = np.argsort(-np.abs(feature), kind="stable")[:6]
    colours = np.where(feature[order] < 0, "#2166ac", "#b2182b")
    axis.axis("on")
    axis.barh(np.arange(len(order)), feature[order], color=colours, height=0.7)
    axis.set_yticks(np.arange(len(order)), [str(columns[each]) for each in order], fontsize=7)
    axis.invert_yaxis()
    axis.set_xticks([])
    axis.axvline(0, color="0.6", linewidth=0.6)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_title(title, fontsize=8)


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
