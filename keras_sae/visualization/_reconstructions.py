import keras
import numpy as np

from keras_sae._pixels import as_input
from keras_sae.visualization._figure import check_drawn, draw, new_figure
from keras_sae.visualization._patch_shapes import folded, patches_of


def plot_reconstructions(model, images, count=10, figure=None):
    """Draws inputs above their reconstructions.

    Where the model reconstructs preprocessed images, these are drawn in place of the images; patches as the mean of all.

    Args:
        model: A `SparseAutoencoder` of vectors, series or images, see `plot_features`. Or a dictionary from titles to models
            of the same inputs, such as k-sparse ones of several k; each has a row.
        images: Array of inputs. Of shape `(n, columns)` or `(n, steps, channels)`, they are drawn over their columns or steps,
            all on one scale. Of shape `(n, height, width, channels)`, images are in [0, 1]; or have negative values, such as
            whitened patches, which are drawn on one scale with zero as grey.
        count: Integer, how many to show.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    models = model if isinstance(model, dict) else {"reconstruction": model}
    inputs = as_input(images[:count]).astype("float32")
    rows = {}
    for title, each in models.items():
        targets, reconstructions = _both(each, inputs)
        rows = {"input": targets, **rows, title: reconstructions}
        if targets.shape != reconstructions.shape or targets.shape != rows["input"].shape:
            raise ValueError(f"Models in one picture reconstruct inputs of one shape. Received: {title!r}, {targets.shape}.")
    targets = rows["input"]
    kind = check_drawn(targets.shape[1:])
    low, high = _scale(targets, np.stack(list(rows.values())), kind)
    width = 0.9 if kind == "image" else 1.5
    figure = figure or new_figure(max(3, width * len(targets)), 1.05 * len(rows))
    axes = figure.subplots(len(rows), len(targets), squeeze=False)
    for row, (title, samples) in zip(axes, rows.items(), strict=True):
        row[0].set_title(title, loc="left", fontsize=9)
        for axis, sample in zip(row, samples, strict=True):
            draw(axis, sample, kind, low, high, "gray_r" if low == 0 else "gray")
    return figure


def _both(model, inputs):
    """What a model is asked to reconstruct of inputs, and its reconstructions."""
    reconstructions = keras.ops.convert_to_numpy(model(inputs, training=False))
    targets = keras.ops.convert_to_numpy(model.target_of(inputs))
    patches = patches_of(model)
    return (targets, reconstructions) if patches is None else (folded(patches, targets), folded(patches, reconstructions))


def _scale(images, reconstructions, kind):
    """The values that are drawn lowest and highest."""
    if kind != "image":
        low, high = (each((each(images), each(reconstructions))) for each in (np.min, np.max))
        return (low, high) if low < high else (low - 1, high + 1)
    strongest = np.abs(images).max()
    return (-strongest, strongest) if images.min() < 0 else (0, 1)
