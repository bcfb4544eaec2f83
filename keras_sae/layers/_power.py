import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number


@keras.saving.register_keras_serializable(package="keras_sae")
class Power(KnownArguments, keras.layers.Layer):
    """Raises sizes to a power and keeps signs: a square root by default, which makes features less skewed.

        outputs = inputs * (abs(inputs) + offset) ** (exponent - 1)

    Pooled responses are small for most images and large for a few. Their square roots suit linear classifiers better. For
    inputs much larger than `offset`, the result is `sign(inputs) * abs(inputs) ** exponent`; zeros stay zero, and the slope at
    zero is `offset ** (exponent - 1)`: finite, unlike that of a square root.

    Args:
        exponent: Float in (0, 1]. 1 changes nothing.
        offset: Float above 0. It should be small next to typical inputs.

    Input shape:
        Any.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> print(keras.ops.convert_to_numpy(Power(0.5)(np.array([[4.0, 0.0, -9.0]]))).round(3))
    [[ 2.  0. -3.]]

    Reference:
        Perronnin, Sánchez and Mensink, "Improving the Fisher Kernel for Large-Scale Image Classification", ECCV 2010.
    """

    def __init__(self, exponent=0.5, offset=1e-4, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.exponent = check_number("exponent", exponent, "is the power of the sizes", above=0, at_most=1)
        self.offset = check_number("offset", offset, "bounds the slope at zero", above=0)
        self.supports_masking = True

    def call(self, inputs):
        inputs = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        return ops.cast(inputs * ops.power(ops.abs(inputs) + self.offset, self.exponent - 1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "exponent": self.exponent, "offset": self.offset}
