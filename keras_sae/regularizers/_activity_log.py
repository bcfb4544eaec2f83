import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.regularizers._activity_penalty import ActivityPenalty
from keras_sae.regularizers._positions import weighted


@keras.saving.register_keras_serializable(package="keras_sae")
class ActivityLog(ActivityPenalty):
    """Charges a code by the logarithm of its squared activations. A few large activations cost less than many small ones.

        penalty = weight * mean over positions i of sum_j log(1 + code[i, j]^2)

    This is the prior of sparse coding for natural images. It is quadratic for activations well below 1 and nearly flat well
    above 1, so the scale of the data matters: it favours few large activations only where the code exceeds 1. It makes
    activations small, but not exactly zero.

    Args:
        weight: Float, at least 0. A published `|x - Φ a|^2 + λ Σ log(1 + a^2)` over D pixels has the weight `λ / D` with
            Keras' "mse".

    Shapes:
        `(batch, ..., units)` to a scalar.

    Example:

    >>> code = np.array([[3.0, 0.0], [1.0, 0.0]], "float32")
    >>> print(round(float(ActivityLog().penalty(code)), 4))      # (log(10) + log(2)) / 2
    1.4979

    Reference:
        Olshausen and Field, "Emergence of simple-cell receptive field properties by learning a sparse code for natural
        images", Nature 381, 1996.
    """

    def __init__(self, weight=1.0):
        self.weight = check_number("weight", weight, "is the factor of the penalty", at_least=0)

    def totals(self, code, weights=None):
        return ops.sum(weighted(ops.log1p(ops.square(code)), weights))

    def value(self, totals, positions):
        return self.weight * totals / positions

    def slope(self, code):
        """The derivative of the cost of an entry, elementwise."""
        return self.weight * 2 * code / (1 + ops.square(code))

    @property
    def curvature(self):
        """The maximum of the second derivative."""
        return 2 * self.weight

    def get_config(self):
        return {"weight": self.weight}
