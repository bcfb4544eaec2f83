import math

import keras
from keras import ops

from keras_sae.regularizers._target_rate import TargetRate

# Rates of 0 and 1 are moved inwards by this much. The move is linear, so a dead unit keeps its gradient, which a clip would
# set to zero. In float32 1 - 1e-6 differs from 1, and 1 - 1e-8 does not.
_SMOOTHING = 1e-6

# Activation functions of Keras with values in the range that the formula needs.
_WITHIN = {
    "sigmoid": {"sigmoid", "hard_sigmoid", "softmax", "sparse_sigmoid", "sparsemax"},
    "tanh": {"tanh", "hard_tanh", "softsign", "sigmoid", "hard_sigmoid", "softmax", "sparse_sigmoid", "sparsemax"},
}


@keras.saving.register_keras_serializable(package="keras_sae")
class ActivityKL(TargetRate):
    """Holds the mean activation of units near `target` by a KL divergence.

    With `rate[j]` the mean of unit `j` over every position (`sparsity="lifetime"`):

        penalty = weight * sum_j  target * log(target / rate[j])
                                  + (1 - target) * log((1 - target) / (1 - rate[j]))

    Zero when every unit fires at `target`; steep as a unit dies. It does not depend on the batch size: repeating the same rows
    changes nothing. But the rates of a mini-batch scatter around those of the data, so small batches cost more.

    With `sparsity="population"` the mean is over the units of each position, and the divergence is averaged over positions:
    `penalty = weight * mean_i KL(target || rate[i])`. Each form has a loophole that the other closes: units that all fire on
    the same samples satisfy lifetime sparsity, and a few units that are always on satisfy population sparsity.

    Codes must lie in [0, 1], or in [-1, 1] with `activation_range="tanh"`. There -1 means inactive, and `rate` and `target` are
    first mapped to `(1 + rate) / 2` and `(1 + target) / 2`. Outside this range the formula is undefined: models refuse
    activations such as "relu", and a rate out of range gives NaN.

    Rates of exactly 0 and 1 are smoothed by 1e-6, so that the penalty and its gradient are finite.

    Args:
        target: Float in (0, 1), or in (-1, 1) for the tanh range. The mean activation to aim for.
        weight: Float, at least 0. Ng's β, for a loss of half the squared error summed over D pixels, is `2 * β / D` with
            Keras' "mse".
        sparsity: `"lifetime"` (per unit over positions) or `"population"` (per position over units).
        activation_range: `"sigmoid"` for codes in [0, 1], `"tanh"` for codes in [-1, 1].
        momentum: None for the rates of the batch. For small batches, whose rates scatter, a float in [0, 1) such as 0.9: the
            weight of the past in a running mean of the rates. A `keras_sae.models.SparseAutoencoder` keeps the running mean
            as a saved weight. Gradients are those of the batch's own rates, not scaled down by `1 - momentum`.

    Shapes:
        `(batch, ..., units)` to a scalar.

    Example:

    >>> code = np.array([[0.2, 0.8], [0.2, 0.2]], "float32")   # rates 0.2 and 0.5
    >>> print(round(float(ActivityKL(target=0.2).penalty(code)), 4))
    0.1927

    Reference:
        Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
    """

    def check_target(self):
        lowest = 0 if self.activation_range == "sigmoid" else -1
        if not lowest < self.target < 1:
            raise ValueError(
                f"`target` is the mean activation to aim for and must lie in ({lowest}, 1), without the ends, for "
                f"activation_range={self.activation_range!r}. Received: target={self.target!r}."
            )

    def check_activation(self, activation):
        name = getattr(activation, "__name__", str(activation))
        if hasattr(keras.activations, name) and name not in _WITHIN[self.activation_range]:
            bounds = "[0, 1]" if self.activation_range == "sigmoid" else "[-1, 1]"
            raise ValueError(
                f"ActivityKL is undefined for rates outside {bounds}, and the activation {name!r} can go outside. "
                f"Use activation={self.activation_range!r} for the code, or another penalty such as keras.regularizers.L1."
            )

    def charge(self, rate, target):
        """KL(target || rate), elementwise."""
        rate = _SMOOTHING + (1 - 2 * _SMOOTHING) * rate
        return target * (math.log(target) - ops.log(rate)) + (1 - target) * (math.log(1 - target) - ops.log(1 - rate))
