"""What FISTA and LISTA share: a dictionary, and the energy of a code."""

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer

_POWER = 16  # power of the Gram matrix in the bound of its largest eigenvalue


class SparseInference(KnownArguments, keras.layers.Layer):
    """Base class of layers that infer a code of low energy from a dictionary.

        energy(code) = mean over D entries of (inputs - kernel @ code)^2 + penalty(code)

    Subclasses minimise `D / 2` times that, `1/2 |inputs - kernel @ code|^2 + D / 2 * penalty(code)`, in float32 or wider.

    Attributes:
        kernel: The dictionary, of shape `(inputs, units)`. Its columns, the atoms, have norm 1.
    """

    def __init__(self, units, penalty, steps, kernel_initializer, **kwargs):
        super().__init__(**kwargs)
        self.units = check_integer("units", units, "is the width of the code")
        self.steps = check_integer("steps", steps, "is the number of iterations")
        self.penalty = keras.regularizers.get(penalty)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    @property
    def shrinks(self):
        """Whether the penalty is |code|: its step is a soft threshold, which makes exact zeros."""
        return isinstance(self.penalty, keras.regularizers.L1)

    @property
    def exact_zeros(self):
        """Whether silent units are exactly zero at inference."""
        return self.shrinks

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(
                "The atoms of a dictionary are as long as the last axis of the input, whose size must be known. "
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
        """The soft threshold of an L1 penalty in a step of size `1 / steepness`."""
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
    """Casts to float32; float64 stays."""
    tensor = ops.convert_to_tensor(tensor)
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))


def soft_threshold(code, threshold):
    """Moves entries towards zero by `threshold`, no further than zero: `sign(code) * max(|code| - threshold, 0)`."""
    return code - ops.clip(code, -threshold, threshold)


def largest_eigenvalue(kernel):
    """An upper bound on the largest eigenvalue of `gram = transpose(kernel) @ kernel`.

    It is `norm(gram^16)^(1/16)` with the Frobenius norm. Unlike power iteration it is never below the eigenvalue; it is at
    most `min(inputs, units)^(1/32)` times it.
    """
    kernel = kernel if kernel.shape[0] < kernel.shape[1] else ops.transpose(kernel)
    power, exponent, bound = ops.matmul(kernel, ops.transpose(kernel)), 1, 1
    while True:
        norm = ops.maximum(ops.norm(power), keras.config.epsilon())
        bound = bound * norm ** (1 / exponent)
        if exponent == _POWER:
            return bound
        power, exponent = ops.matmul(power / norm, power / norm), 2 * exponent
