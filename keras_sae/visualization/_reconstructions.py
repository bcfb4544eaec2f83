import keras
import numpy as np

from keras_sae._pixels import as_input
from keras_sae.visualization._figure import new_figure, without_channel_of_one


def plot_reconstructions(model, images, count=10, figure=None):
    """Draws images above their reconstructions.

    Args:
        model: A `SparseAutoencoder` of images.
        images: Array of images of shape `(n, height, width, channels)` in [0, 1]; or with negative values, such as whitened
            patches, which are drawn on one scale with zero as grey.
        count: Integer, how many to show.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    images = as_input(images[:count]).astype("float32")
    reconstructions = keras.ops.convert_to_numpy(model(images, training=False))
    grey = images.min() < 0
    strongest = np.abs(images).max() if grey else 1
    figure = figure or new_figure(0.9 * len(images), 2.1)
    axes = figure.subplots(2, len(images), squeeze=False)
    for row, title, pictures in zip(axes, ("input", "reconstruction"), (images, reconstructions), strict=True):
        row[0].set_title(title, loc="left", fontsize=9)
        for axis, picture in zip(row, without_channel_of_one(pictures), strict=True):
            shown = 0.5 + picture / (2 * strongest) if grey else picture
            cmap = "gray" if grey else "gray_r"
            axis.imshow(np.clip(shown, 0, 1), cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
            axis.axis("off")
    return figure
