import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.regularizers._activity_penalty import ActivityPenalty
from keras_sae.regularizers._positions import weighted


@keras.saving.register_keras_serializable(package="keras_sae")
class GaussianKL(ActivityPenalty):
    """Holds a Gaussian posterior near the standard normal distribution by a KL divergence.

    It charges the input of `keras_sae.layers.GaussianSample`: the last axis holds the means, then the logarithms of the
    variances.

        penalty = weight * mean_i sum_j (mean[i, j]^2 + exp(log_variance[i, j]) - log_variance[i, j] - 1) / 2

    where `i` runs over positions and `j` over units. This is the information in the code of one position, in nats. It is zero
    where every mean is 0 and every variance 1, and does not depend on the batch size. Unlike `ActivityKL`, which compares
    rates, it makes no unit silent. It is finite for log variances up to 88, where `exp` overflows float32.

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
        self.weight = check_number("weight", weight, "is the factor of the penalty", at_least=0)

    def totals(self, code, weights=None):
        if code.shape[-1] % 2:
            raise ValueError(
                "GaussianKL charges a mean and a log variance for each unit, so the last axis must be even. "
                f"Received: a code of shape {tuple(code.shape)}. Charge the input of `GaussianSample`, not its output."
            )
        mean, log_variance = ops.split(code, 2, axis=-1)
        return ops.sum(weighted(ops.square(mean) + ops.expm1(log_variance) - log_variance, weights)) / 2  # ()

    def value(self, totals, positions):
        return self.weight * totals / positions

    def get_config(self):
        return {"weight": self.weight}
