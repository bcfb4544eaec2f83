import math

import keras
from keras import ops

from keras_sae.regularizers._target_rate import TargetRate

# A rate of exactly 0 or 1 is moved inwards by this much. The move is linear, so that a dead unit keeps its gradient,
# which a clip would take away; and 1e-6 is felt in float32, where 1 - 1e-8 is 1.
_SMOOTHING = 1e-6

# The activation functions of Keras whose values lie in the range that the formula needs.
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

    Zero when every unit fires at `target`; steep as a unit dies. It does not depend on the batch size: the same rows
    repeated cost the same. A mini-batch's rates scatter around those of the data, though, so small batches cost more.

    With `sparsity="population"` the mean is taken over the units of each position instead, and the divergence averaged
    over positions: `penalty = weight * mean_i KL(target || rate[i])`. Each form can be met badly where the other cannot:
    lifetime by units that all fire on the same samples, population by the same few units always on.

    Codes must lie in [0, 1], or in [-1, 1] with `activation_range="tanh"`, where -1 means inactive and `rate` and
    `target` are first mapped to `(1 + rate) / 2` and `(1 + target) / 2`. Outside, the formula is undefined: models refuse
    activations such as "relu", and a rate out of range gives NaN rather than a plausible number.

    Rates of exactly 0 and 1 are smoothed by 1e-6, so that the penalty and its gradient are finite.

    Args:
        target: Float in (0, 1), or in (-1, 1) for the tanh range. The mean activation to aim for.
        weight: Float, at least 0. Ng's β for a loss of half the squared error summed over D pixels is `2 * β / D` beside
            Keras' "mse".
        sparsity: `"lifetime"` (per unit over positions) or `"population"` (per position over units).
        activation_range: `"sigmoid"` for codes in [0, 1], `"tanh"` for codes in [-1, 1].
        momentum: None for the rates of the batch. A float in [0, 1) for a running mean of the rates of the training
            batches, with that weight of the past, such as 0.9; for small batches, whose rates scatter. A
            `keras_sae.models.SparseAutoencoder` keeps the running mean, as a saved weight. Gradients are those of the
            batch's own rates, not scaled down by `1 - momentum`.

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
                f"`target` is the mean activation to aim for and must lie in ({lowest}, 1), the ends excluded, for "
                f"activation_range={self.activation_range!r}. Received: target={self.target!r}."
            )

    def check_activation(self, activation):
        name = getattr(activation, "__name__", str(activation))
        if hasattr(keras.activations, name) and name not in _WITHIN[self.activation_range]:
            bounds = "[0, 1]" if self.activation_range == "sigmoid" else "[-1, 1]"
            raise ValueError(
                f"ActivityKL is undefined for rates outside {bounds}, which the activation {name!r} can reach. "
                f"Use activation={self.activation_range!r} for the code, or another penalty such as keras.regularizers.L1."
            )

    def charge(self, rate, target):
        """KL(target || rate), elementwise."""
        rate = _SMOOTHING + (1 - 2 * _SMOOTHING) * rate
        return target * (math.log(target) - ops.log(rate)) + (1 - target) * (math.log(1 - target) - ops.log(1 - rate))
