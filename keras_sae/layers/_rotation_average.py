import math

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number
from keras_sae.layers._mirror_average import MirrorAverage


@keras.saving.register_keras_serializable(package="keras_sae")
class RotationAverage(MirrorAverage):
    """Averages features of an image and of the image turned by some angles. For the `features` of an autoencoder.

        outputs = (f(image) + sum_a f(image turned by a)) / (1 + number of angles)

    `f` is all that comes before it: the encoder up to the layer that `features` names, and the layers before this one in the
    list. The encoder runs once for each angle, and once for the image. Images turn about their middle, by linear interpolation.
    What turns out of the image is lost, what turns in is 0.

    How much handwriting is turned says little about the letter. A class of digits or letters fills less space after averaging,
    so a linear classifier separates it with fewer errors.

    Args:
        angles: List of floats, in degrees. Positive angles turn counterclockwise. Beyond about 30 degrees, letters and digits
            begin to look like others.

    Input shape:
        A list of tensors `(batch, ...)`, the features of images and, for each angle, of turned images. The model makes them
        from images `(batch, height, width, channels)`.

    Output shape:
        That of one of them.

    Example:

    >>> features = {"encode": [keras.layers.ReLU(), GridPooling(2), RotationAverage([-90, 90])]}
    >>> model = ConvolutionalAutoencoder((8, 8, 1), 16, features=features)
    >>> model.features.output_shape
    (None, 2, 2, 16)
    >>> image = np.arange(4.0).reshape(1, 2, 2, 1)
    >>> for each in [image, *RotationAverage([-90, 90]).views(image)]:
    ...     print(keras.ops.convert_to_numpy(each)[0, :, :, 0].round(4).tolist())
    [[0.0, 1.0], [2.0, 3.0]]
    [[2.0, 0.0], [3.0, 1.0]]
    [[1.0, 3.0], [0.0, 2.0]]
    """

    def __init__(self, angles=(-20, 20), **kwargs):
        super().__init__(**kwargs)
        if not isinstance(angles, (list, tuple)) or not angles:
            raise ValueError(
                f"`angles` lists the angles of turned images, in degrees, at least one. Received: angles={angles!r}."
            )
        self.angles = [check_number("angles", each, "lists angles in degrees") for each in angles]

    def views(self, images):
        self.check_images(images)
        return [_Turned(angle)(images) for angle in self.angles]

    def get_config(self):
        return {**super().get_config(), "angles": self.angles}


@keras.saving.register_keras_serializable(package="keras_sae")
class _Turned(KnownArguments, keras.layers.Layer):
    """Turns images `(batch, height, width, channels)` about their middle, counterclockwise by an angle in degrees."""

    def __init__(self, angle, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.angle = angle

    def call(self, inputs):
        images = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        height, width = ops.shape(images)[1:3]
        dy = ops.expand_dims(ops.cast(ops.arange(height), images.dtype), 1) - (height - 1) / 2
        dx = ops.cast(ops.arange(width), images.dtype) - (width - 1) / 2
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        y = ops.reshape(sin * dx + cos * dy, (-1,)) + (height - 1) / 2  # (pixels,): where each pixel comes from
        x = ops.reshape(cos * dx - sin * dy, (-1,)) + (width - 1) / 2
        pixels = ops.reshape(images, (-1, height * width, inputs.shape[-1]))
        outputs = 0.0
        for row in (ops.floor(y), ops.floor(y) + 1):
            for column in (ops.floor(x), ops.floor(x) + 1):
                inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                share = ops.where(inside, (1 - ops.abs(y - row)) * (1 - ops.abs(x - column)), 0.0)
                place = ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1)
                outputs += ops.take(pixels, ops.cast(place, "int32"), axis=1) * ops.expand_dims(share, 1)
        return ops.cast(ops.reshape(outputs, ops.shape(images)), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "angle": self.angle}
