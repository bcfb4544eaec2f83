import keras
import numpy as np

from keras_sae.visualization.figure import new_figure, without_channel_of_one


def plot_reconstructions(model, images, count=10, figure=None):
    """Draws images above their reconstructions.

    Args:
        model: A `SparseAutoencoder` of images.
        images: Array of images in [0, 1], of shape `(n, height, width, channels)`.
        count: Integer, how many to show.
        figure: A matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    images = np.asarray(images[:count], "float32")
    reconstructions = keras.ops.convert_to_numpy(model(images, training=False))
    figure = figure or new_figure(0.9 * len(images), 2.1)
    axes = figure.subplots(2, len(images), squeeze=False)
    for row, title, pictures in zip(axes, ("input", "reconstruction"), (images, reconstructions), strict=True):
        row[0].set_title(title, loc="left", fontsize=9)
        for axis, picture in zip(row, without_channel_of_one(pictures), strict=True):
            axis.imshow(np.clip(picture, 0, 1), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axis.axis("off")
    return figure
