import keras
from keras import ops

from keras_sae.regularizers._target_rate import TargetRate


class _Distance(TargetRate):
    """A distance of rates from their target, defined for all rates."""

    def check_target(self):
        if self.activation_range == "tanh" and not -1 <= self.target <= 1:
            raise ValueError(
                "`target` is the mean activation to aim for and must lie in [-1, 1] for activation_range='tanh'. "
                f"Received: target={self.target!r}."
            )


@keras.saving.register_keras_serializable(package="keras_sae")
class ActivityTargetL1(_Distance):
    """Holds the mean activation of units near `target` by their absolute difference.

    With `rate[j]` the mean of unit `j` over every position (`sparsity="lifetime"`):

        penalty = weight * sum_j |rate[j] - target|

    With `sparsity="population"` the rates are means over the units of each position, and the sum over `j` becomes a mean over
    positions. The gradient is the same at every distance, so a dead unit is pulled no harder than one just below the target.
    At the target itself the gradient is taken as zero. Like `ActivityKL` it does not depend on the batch size; unlike it, it
    is defined for any activation, ReLU included.

    With `activation_range="tanh"`, where -1 means inactive, `rate` and `target` are first mapped to `(1 + rate) / 2` and
    `(1 + target) / 2`, as in `ActivityKL`. A weight then has the same meaning for both ranges.

    Args:
        target: Finite float, in [-1, 1] for the tanh range. The mean activation to aim for.
        weight: Float, at least 0.
        sparsity: `"lifetime"` (per unit over positions) or `"population"` (per position over units).
        activation_range: `"tanh"` for codes in [-1, 1], otherwise `"sigmoid"`, which leaves rates as they are.
        momentum: None for the rates of the batch, or a float in [0, 1) for a running mean, as in `ActivityKL`.

    Shapes:
        `(batch, ..., units)` to a scalar.

    Example:

    >>> code = np.array([[0.2, 0.8], [0.2, 0.2]], "float32")   # rates 0.2 and 0.5
    >>> print(round(float(ActivityTargetL1(target=0.1).penalty(code)), 4))
    0.5

    Reference:
        Wikipedia, "Autoencoder", sparse autoencoder, where the penalty takes the function s to be the L1 distance.
    """

    def charge(self, rate, target):
        return ops.abs(rate - target)


@keras.saving.register_keras_serializable(package="keras_sae")
class ActivityTargetL2(_Distance):
    """Holds the mean activation of units near `target` by their squared difference.

    With `rate[j]` the mean of unit `j` over every position (`sparsity="lifetime"`):

        penalty = weight * sum_j (rate[j] - target)^2

    With `sparsity="population"` the rates are means over the units of each position, and the sum over `j` becomes a mean over
    positions. This is the gentlest of the target penalties: small deviations cost little, and a dead unit costs only
    `target^2`. Like `ActivityKL` it does not depend on the batch size; unlike it, it is defined for any activation, ReLU
    included.

    With `activation_range="tanh"`, where -1 means inactive, `rate` and `target` are first mapped to `(1 + rate) / 2` and
    `(1 + target) / 2`, as in `ActivityKL`. A weight then has the same meaning for both ranges.

    Args:
        target: Finite float, in [-1, 1] for the tanh range. The mean activation to aim for.
        weight: Float, at least 0.
        sparsity: `"lifetime"` (per unit over positions) or `"population"` (per position over units).
        activation_range: `"tanh"` for codes in [-1, 1], otherwise `"sigmoid"`, which leaves rates as they are.
        momentum: None for the rates of the batch, or a float in [0, 1) for a running mean, as in `ActivityKL`.

    Shapes:
        `(batch, ..., units)` to a scalar.

    Example:

    >>> code = np.array([[0.2, 0.8], [0.2, 0.2]], "float32")   # rates 0.2 and 0.5
    >>> print(round(float(ActivityTargetL2(target=0.1).penalty(code)), 4))
    0.17

    Reference:
        Wikipedia, "Autoencoder", sparse autoencoder, where the penalty takes the function s to be the L2 distance.
    """

    def charge(self, rate, target):
        return ops.square(rate - target)
