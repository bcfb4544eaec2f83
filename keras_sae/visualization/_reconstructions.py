import keras
import numpy as np

from keras_sae._pixels import as_input
from keras_sae.visualization._figure import check_drawn, draw, new_figure
from keras_sae.visualization._patch_shapes import folded, patches_of


def plot_reconstructions(model, images, count=10, figure=None):
    """Draws inputs above their reconstructions.

    Where the model reconstructs preprocessed images, these are drawn in place of the images; patches as the mean of all.

    Args:
        model: A `SparseAutoencoder` of vectors, series or images, see `plot_features`.
        images: Array of inputs. Of shape `(n, columns)` or `(n, steps, channels)`, they are drawn over their columns or steps,
            all on one scale. Of shape `(n, height, width, channels)`, images are in [0, 1]; or have negative values, such as
            whitened patches, which are drawn on one scale with zero as grey.
        count: Integer, how many to show.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    images = as_input(images[:count]).astype("float32")
    reconstructions = keras.ops.convert_to_numpy(model(images, training=False))
    images = keras.ops.convert_to_numpy(model.target_of(images))
    patches = patches_of(model)
    if patches is not None:
        images, reconstructions = folded(patches, images), folded(patches, reconstructions)
    kind = check_drawn(images.shape[1:])
    low, high = _scale(images, reconstructions, kind)
    figure = figure or new_figure(0.9 * len(images), 2.1)
    axes = figure.subplots(2, len(images), squeeze=False)
    for row, title, samples in zip(axes, ("input", "reconstruction"), (images, reconstructions), strict=True):
        row[0].set_title(title, loc="left", fontsize=9)
        for axis, sample in zip(row, samples, strict=True):
            draw(axis, sample, kind, low, high, "gray_r" if low == 0 else "gray")
    return figure


def _scale(images, reconstructions, kind):
    """The values that are drawn lowest and highest."""
    if kind != "image":
        low, high = (each((each(images), each(reconstructions))) for each in (np.min, np.max))
        return (low, high) if low < high else (low - 1, high + 1)
    strongest = np.abs(images).max()
    return (-strongest, strongest) if images.min() < 0 else (0, 1)
