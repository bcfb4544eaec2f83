"""What the layers share that infer a sparse code from a dictionary."""

import operator

import keras
from keras import ops

_POWER = 16  # of the Gram matrix, in the bound of its largest eigenvalue


class SparseInference(keras.layers.Layer):
    """A dictionary, and the energy that a code of its input has.

        energy(code) = mean over D entries of (inputs - kernel @ code)^2 + penalty(code)

    Layers work on `D / 2` times that, `1/2 |inputs - kernel @ code|^2 + D / 2 * penalty(code)`, and in float32 or wider.

    Attributes:
        kernel: The dictionary, of shape `(inputs, units)`. Its columns, the atoms, have norm 1.
    """

    def __init__(self, units, penalty, steps, kernel_initializer, **kwargs):
        super().__init__(**kwargs)
        for name, value, meaning in (("units", units, "is the width of the code"), ("steps", steps, "counts iterations")):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                raise ValueError(f"`{name}` {meaning} and must be an integer of at least 1. Received: {name}={value!r}.")
        self.units = operator.index(units)
        self.steps = operator.index(steps)
        self.penalty = keras.regularizers.get(penalty)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    @property
    def shrinks(self):
        """Whether the penalty is |code|, whose step is a soft threshold."""
        return isinstance(self.penalty, keras.regularizers.L1)

    @property
    def exact_zeros(self):
        """Whether silent units are exactly zero."""
        return self.shrinks

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(
                "The atoms of a dictionary are as long as the last axis of the input, so its size must be known. "
                f"Received: input_shape={tuple(input_shape)}."
            )
        unit_norm = keras.constraints.UnitNorm(axis=0)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=lambda shape, dtype: unit_norm(self.kernel_initializer(shape, dtype)),
            constraint=unit_norm,
        )

    def threshold(self, steepness):
        """The soft threshold of a step of size `1 / steepness`, for an L1 penalty."""
        return self.kernel.shape[0] / 2 * self.penalty.get_config()["l1"] / steepness

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "penalty": keras.regularizers.serialize(self.penalty),
            "steps": self.steps,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def in_float32(tensor):
    """Casts to float32, in which codes are iterated; float64 stays."""
    tensor = ops.convert_to_tensor(tensor)
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))


def soft_threshold(code, threshold):
    """Moves every entry towards zero by `threshold`, and no further: `sign(code) * max(|code| - threshold, 0)`."""
    return code - ops.clip(code, -threshold, threshold)


def largest_eigenvalue(kernel):
    """A bound from above on the largest eigenvalue of `transpose(kernel) @ kernel`, the Lipschitz constant of a least square.

    It is `norm(gram^16)^(1/16)`, with the Frobenius norm: never below the eigenvalue, as power iteration is, and at most
    `min(inputs, units)^(1/32)` times it.
    """
    kernel = kernel if kernel.shape[0] < kernel.shape[1] else ops.transpose(kernel)
    power, exponent, bound = ops.matmul(kernel, ops.transpose(kernel)), 1, 1
    while True:
        norm = ops.maximum(ops.norm(power), keras.config.epsilon())
        bound = bound * norm ** (1 / exponent)
        if exponent == _POWER:
            return bound
        power, exponent = ops.matmul(power / norm, power / norm), 2 * exponent
