import keras
from keras import ops

from keras_sae._checks import KnownArguments


@keras.saving.register_keras_serializable(package="keras_sae")
class MirrorAverage(KnownArguments, keras.layers.Layer):
    """Averages features of an image and of its horizontal mirror image. For the `features` of an autoencoder.

        outputs = (f(image) + f(mirror image)) / 2

    `f` is all that comes before it: the encoder up to the layer that `features` names, and the layers before this one in the
    list. An image and its mirror image get the same features. The encoder runs twice.

    Many classes do not depend on the direction in which things face. There, this makes up for training images that a
    classifier has not seen. Digits and letters do depend on it.

    Input shape:
        A list of two tensors `(batch, ...)`, the features of images and of their mirror images. The model makes both from
        images `(batch, height, width, channels)`.

    Output shape:
        That of one of them.

    Example:

    >>> keras.ops.convert_to_numpy(MirrorAverage()([np.array([[1.0, 4.0]]), np.array([[3.0, 0.0]])])).tolist()
    [[2.0, 2.0]]
    >>> features = {"encode": [keras.layers.ReLU(), GridPooling(2), MirrorAverage()]}
    >>> ConvolutionalAutoencoder((8, 8, 3), 16, features=features).features.output_shape
    (None, 2, 2, 16)
    """

    def views(self, images):
        """The other images that features are averaged over, of images `(batch, height, width, channels)`: a list."""
        self.check_images(images)
        return [ops.flip(images, axis=2)]

    def check_images(self, images):
        if len(images.shape) != 4:
            raise ValueError(
                f"{type(self).__name__} averages over mirror images or turned images, so inputs of the model must be images "
                f"`(batch, height, width, channels)`. Received: inputs of shape {tuple(images.shape)}."
            )

    def build(self, input_shape):
        if len(input_shape) < 2 or not all(isinstance(shape, (list, tuple)) for shape in input_shape):
            raise ValueError(
                f"{type(self).__name__} reads several tensors, features of images and of their mirror images or turned images. "
                f"In the argument `features`, the model passes all. Received: input_shape={input_shape}."
            )

    def call(self, inputs):
        return sum(inputs) / len(inputs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])
