import math
import numbers

import keras
from keras import ops

from keras_sae.regularizers._activity_penalty import ActivityPenalty


@keras.saving.register_keras_serializable(package="keras_sae")
class ActivityLog(ActivityPenalty):
    """Charges a code by the logarithm of its squared activations, which favours a few large ones.

        penalty = weight * mean over positions i of sum_j log(1 + code[i, j]^2)

    The prior of sparse coding for natural images. Quadratic for activations well below 1, and nearly flat well above it,
    so the scale of the data matters: it tells a few large activations from many small ones where the code exceeds 1. It
    makes small activations, but no exact zeros.

    Args:
        weight: Float, at least 0. For a published `|x - Φ a|^2 + λ Σ log(1 + a^2)` over D pixels it is `λ / D` beside Keras'
            "mse".

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
        if not (isinstance(weight, numbers.Real) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"`weight` must be a finite number of at least 0. Received: weight={weight!r}.")
        self.weight = float(weight)

    def totals(self, code):
        return ops.sum(ops.log1p(ops.square(code)))

    def value(self, totals, positions):
        return self.weight * totals / positions

    def slope(self, code):
        """The derivative of what an entry costs, elementwise."""
        return self.weight * 2 * code / (1 + ops.square(code))

    @property
    def curvature(self):
        """The largest that the second derivative is anywhere."""
        return 2 * self.weight

    def get_config(self):
        return {"weight": self.weight}
