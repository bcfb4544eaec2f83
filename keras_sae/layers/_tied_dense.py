import keras
from keras import ops

from keras_sae.layers._tied import TiedLayer


@keras.saving.register_keras_serializable(package="keras_sae")
class TiedDense(TiedLayer):
    """Decodes with the transposed kernel of an encoding `Dense` layer.

        outputs = activation(inputs @ transpose(tied_to.kernel) + bias)

    One kernel serves both directions. Its gradient is the sum of the two, and only the bias is new. Tying keeps an L1 penalty
    effective, because the code cannot shrink while the decoder grows.

    Args:
        tied_to: A built `keras.layers.Dense`, or any layer with a `kernel` of shape `(inputs, units)`.
        activation: Activation name or function, none by default.
        use_bias: Whether to add a bias.
        bias_initializer: Initializer of the bias.

    Input shape:
        `(..., units)`, codes as wide as the output of `tied_to`.

    Output shape:
        `(..., inputs)`, as wide as the input of `tied_to`.

    Example:

    >>> encode = keras.layers.Dense(2)
    >>> encode.build((None, 4))
    >>> TiedDense(encode)(np.ones((3, 2), "float32")).shape == (3, 4)
    True
    """

    def __init__(self, tied_to, activation=None, use_bias=True, bias_initializer="zeros", **kwargs):
        super().__init__(tied_to, activation, use_bias, bias_initializer, **kwargs)
        if not isinstance(tied_to, keras.layers.Layer):
            raise TypeError(
                "`tied_to` must be the encoding layer whose kernel is shared, such as a keras.layers.Dense. "
                f"Received: tied_to={tied_to!r} of type {type(tied_to).__name__}."
            )

    def build(self, input_shape):
        if not self.tied_to.built or getattr(self.tied_to, "kernel", None) is None or self.tied_to.kernel.ndim != 2:
            raise ValueError(
                "`tied_to` must be built and have a `kernel` of shape (inputs, units). "
                f"Received: tied_to={self.tied_to.name!r} of type {type(self.tied_to).__name__}, "
                f"built={self.tied_to.built}. Call the encoding layer, or its `build`, first; for a convolution, use a "
                "TiedConvTranspose."
            )
        inputs, units = self.tied_to.kernel.shape
        if input_shape[-1] != units:
            raise ValueError(
                "A TiedDense reads codes as wide as the output of its encoding layer. "
                f"Received: input_shape={tuple(input_shape)}, and {self.tied_to.name!r} has {units} units."
            )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(inputs,), initializer=self.bias_initializer)

    def call(self, inputs):
        outputs = ops.matmul(inputs, ops.transpose(self.shared_kernel()))
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.tied_to.kernel.shape[0])
