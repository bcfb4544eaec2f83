import importlib.util
import io

import keras
import numpy as np

from keras_sae.evaluation import encode
from keras_sae.visualization import new_figure, plot_features, plot_reconstructions


class Pictures(keras.callbacks.Callback):
    """Draws reconstructions for TensorBoard, and the features of a code that is a vector, at the end of some epochs.

    Args:
        directory: Where the logs go.
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
        figures = {"reconstructions": plot_reconstructions(self.model, self.images)}
        if len(self.model.decoder.inputs[0].shape) == 2 and len(self.model.output_shape) in (3, 4):
            figures["features"] = plot_features(self.model)
        with self._writer.as_default(step=epoch):
            for name, figure in figures.items():
                tf.summary.image(name, _pixels(figure)[None])
        self._writer.flush()


def _pixels(figure, dots=100):
    """What a figure looks like: uint8 of shape `(height, width, 4)`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dots)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def features_picture(model, images, most=150_000):
    """A picture of features, those most active on `images`, and of reconstructions of some: the bytes of a PNG file.

    Args:
        model: A `SparseAutoencoder`.
        images: Array of inputs, as the model reads them.
        most: Integer. The most bytes.

    Returns:
        Bytes, or None where these are no images, or matplotlib is not installed.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not importlib.util.find_spec("matplotlib"):
        return None
    from PIL import Image  # which matplotlib brings

    figure = new_figure(7, 8.6)
    above, below = figure.subfigures(2, 1, height_ratios=(7, 1.6))
    plot_features(model, count=64, codes=encode(model, images), figure=above)
    plot_reconstructions(model, images, count=8, figure=below)
    for dots in (100, 80, 60, 40):
        # One byte a pixel, of 256 colours, takes a third of the space.
        picture = Image.fromarray(_pixels(figure, dots)).convert("RGB").quantize(256)
        content = io.BytesIO()
        picture.save(content, format="png", optimize=True)
        if content.tell() <= most:
            break
    return content.getvalue()
