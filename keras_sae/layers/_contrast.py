import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number


@keras.saving.register_keras_serializable(package="keras_sae")
class ContrastNormalization(KnownArguments, keras.layers.Layer):
    """Gives each patch mean 0 and a standard deviation of about 1: brightness and contrast no longer matter.

        outputs = (inputs - mean) / sqrt(variance + offset)        mean and variance over the last axis

    It treats the last axis as a patch: that of `Patches`, or a flattened image.

    Args:
        offset: Float above 0, added to the variance, so that patches of little contrast stay small. The default is 10 on the
            scale of pixels from 0 to 255, for images in [0, 1].

    Input shape:
        `(batch, ..., entries)`.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> layer = ContrastNormalization(offset=3.0)
    >>> print(keras.ops.convert_to_numpy(layer(np.array([[1.0, 3.0], [5.0, 5.0]]))))      # variances 1 and 0
    [[-0.5  0.5]
     [ 0.   0. ]]

    Reference:
        Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011.
    """

    def __init__(self, offset=10 / 255**2, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.offset = check_number("offset", offset, "is added to the variance", above=0)
        self.supports_masking = True

    def call(self, inputs):
        inputs = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        # A tuple of axes, because OpenVINO stumbles over the scalar that TensorFlow writes for one.
        centred = inputs - ops.mean(inputs, axis=(-1,), keepdims=True)
        variance = ops.mean(ops.square(centred), axis=(-1,), keepdims=True)
        return ops.cast(centred / ops.sqrt(variance + self.offset), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "offset": self.offset}
