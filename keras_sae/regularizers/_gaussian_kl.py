import math
import numbers

import keras
from keras import ops

from keras_sae.regularizers._activity_penalty import ActivityPenalty


@keras.saving.register_keras_serializable(package="keras_sae")
class GaussianKL(ActivityPenalty):
    """Holds a Gaussian posterior near the standard normal distribution by a KL divergence.

    It charges the means and the logarithms of the variances, one after the other along the last axis, that
    `keras_sae.layers.GaussianSample` draws a code from:

        penalty = weight * mean_i sum_j (mean[i, j]^2 + exp(log_variance[i, j]) - log_variance[i, j] - 1) / 2

    where `i` runs over positions and `j` over units: in nats, what the code tells of one position. Zero where every mean is
    0 and every variance 1, a code that tells nothing. It does not depend on the batch size. Unlike `ActivityKL`, which
    compares rates, it makes no unit silent. Finite for log variances up to 88, where `exp` leaves float32.

    Args:
        weight: Float, at least 0.

    Shapes:
        `(batch, ..., 2 * units)` to a scalar.

    Example:

    >>> posterior = np.array([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, np.log(4.0)]], "float32")      # two units
    >>> print(round(float(GaussianKL().penalty(posterior)), 4))      # ((1 + 4) / 2 + (4 - log(4) - 1) / 2) / 2
    1.6534

    Reference:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2013, appendix B, https://arxiv.org/abs/1312.6114.
    """

    def __init__(self, weight=1.0):
        if not (isinstance(weight, numbers.Real) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"`weight` must be a finite number of at least 0. Received: weight={weight!r}.")
        self.weight = float(weight)

    def totals(self, code):
        if code.shape[-1] % 2:
            raise ValueError(
                "GaussianKL charges a mean and a log variance for each unit, so the last axis must be even. "
                f"Received: a code of shape {tuple(code.shape)}. Charge what `GaussianSample` is given, not what it draws."
            )
        mean, log_variance = ops.split(code, 2, axis=-1)
        return ops.sum(ops.square(mean) + ops.expm1(log_variance) - log_variance) / 2  # ()

    def value(self, totals, positions):
        return self.weight * totals / positions

    def get_config(self):
        return {"weight": self.weight}
