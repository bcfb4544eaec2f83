import keras
import numpy as np

from keras_sae.visualization import plot_features, plot_reconstructions


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


def _pixels(figure):
    """What a figure looks like: uint8 of shape `(height, width, 4)`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
