import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number


@keras.saving.register_keras_serializable(package="keras_sae")
class SquareRoot(KnownArguments, keras.layers.Layer):
    """Takes square roots, which make faint values count more and strong ones less.

        outputs = sign(inputs) * (sqrt(abs(inputs) + offset) - sqrt(offset))

    The noise of counts, such as photons in a pixel, grows with the square root of their mean. After a square root it is about
    the same everywhere, so squared errors compare faint and strong values fairly. As `preprocessing` of an anomaly detector of
    objects on a dark ground, it lets the shape of dark objects count.

    Args:
        offset: Float above 0. Bounds the slope at zero, which is `1 / (2 * sqrt(offset))`. The default is one level of pixels
            from 0 to 255, for images in [0, 1].

    Input shape:
        Any.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> print(keras.ops.convert_to_numpy(SquareRoot(offset=0.25)(np.array([0.0, 2.0, -0.75]))))
    [ 0.   1.  -0.5]

    Reference:
        Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35, 1948.
    """

    def __init__(self, offset=1 / 255, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.offset = check_number("offset", offset, "bounds the slope at zero", above=0)
        self.supports_masking = True

    def call(self, inputs):
        inputs = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        # The formula, written so that it has a gradient at zero.
        roots = inputs / (ops.sqrt(ops.abs(inputs) + self.offset) + self.offset**0.5)
        return ops.cast(roots, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "offset": self.offset}
