import importlib.util
import io

import keras
import numpy as np

from keras_sae.evaluation import encode
from keras_sae.training._card import OF_WINDOWS
from keras_sae.visualization import (
    decoder_features,
    drawn_as,
    new_figure,
    plot_features,
    plot_reconstructions,
    plot_top_windows,
)


class Pictures(keras.callbacks.Callback):
    """Writes pictures for TensorBoard at the end of some epochs: reconstructions, and features if the code is a vector.

    Nothing is written of data that cannot be drawn, such as volumes.

    Args:
        directory: Directory of the logs.
        images: A few inputs, as the model reads them.
        every: Integer, epochs between pictures.
    """

    def __init__(self, directory, images, every=1):
        super().__init__()
        import tensorflow as tf

        self.images = images
        self.every = every
        self._writer = tf.summary.create_file_writer(directory)

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf

        if epoch % self.every and epoch + 1 != self.params["epochs"]:
            return
        if drawn_as(self.images.shape[1:]) is None:
            return
        figures = {"reconstructions": plot_reconstructions(self.model, self.images)}
        if len(self.model.decoder.inputs[0].shape) == 2:
            figures["features"] = plot_features(self.model)
        with self._writer.as_default(step=epoch):
            for name, figure in figures.items():
                tf.summary.image(name, _pixels(figure)[None])
        self._writer.flush()


def _pixels(figure, dots=100):
    """A figure as uint8 of shape `(height, width, 4)`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dots)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def features_picture(model, images, most=150_000):
    """A PNG file of the features that are most active on `images`, and of some reconstructions.

    Where the model reconstructs patches, there are features only; where features cannot be drawn, what excites them most.

    Args:
        model: A `SparseAutoencoder`.
        images: Array of inputs, as the model reads them.
        most: Integer. The picture gets smaller until the file has at most this many bytes.

    Returns:
        The content of the file, or None if `images` are not images or matplotlib is not installed.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not importlib.util.find_spec("matplotlib"):
        return None
    from PIL import Image  # matplotlib depends on it

    kind = _kind(model)
    if kind == "reconstructions":
        figure = new_figure(7, 8.6)
        above, below = figure.subfigures(2, 1, height_ratios=(7, 1.6))
        plot_features(model, count=64, codes=encode(model, images), figure=above)
        plot_reconstructions(model, images, count=8, figure=below)
    elif kind == "windows":
        figure = new_figure(7, 7)
        plot_top_windows(model, images, encode(model, images), count=144, figure=figure)
    else:  # reconstructions of patches show little: more features instead
        figure = new_figure(7, 7)
        plot_features(model, count=144, codes=encode(model, images[:64]), figure=figure)
    for dots in (100, 80, 60, 40):
        # A palette of 256 colours, one byte per pixel, takes a third of the space.
        picture = Image.fromarray(_pixels(figure, dots)).convert("RGB").quantize(256)
        content = io.BytesIO()
        picture.save(content, format="png", optimize=True)
        if content.tell() <= most:
            break
    return content.getvalue()


def caption_of(model, shown):
    """What the picture of a model shows, for its card.

    Args:
        shown: What its images are, such as "test images".
    """
    return {
        "reconstructions": f"Features, and reconstructions of {shown}",
        "windows": f"{OF_WINDOWS}: for each, the mean of nine windows of {shown}",
        "patches": "The most active units, each as the preprocessed patch that it decodes to; zero is white, or grey in colour",
    }[_kind(model)]


def _kind(model):
    """What the picture of a model has besides or instead of its features."""
    if model.preprocessing is None or model.preprocessing.output_shape == model.encoder.input_shape:
        return "reconstructions"
    return "windows" if drawn_as(decoder_features(model, [0]).shape[1:]) is None else "patches"
