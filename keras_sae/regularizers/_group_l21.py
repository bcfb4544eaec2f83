import math
import numbers

import keras
from keras import ops

from keras_sae.distributed import gather_over_replicas
from keras_sae.regularizers._activity_penalty import ActivityPenalty, in_statistics_dtype, position_count, value_or_zero


@keras.saving.register_keras_serializable(package="keras_sae")
class GroupL21(ActivityPenalty):
    """Charges a code for the units that each class uses, so that samples of one class share them.

    The supervised group sparsity of the ℓ2,1 norm. With `n[c]` the positions of class `c` in the batch:

        penalty = weight * sum_c sum_j sqrt(sum over positions i of class c of code[i, j]^2 / n[c])

    The norm runs over the samples of a class, the sum over units and classes: a unit that a class does not use at all costs
    nothing, and the first sample of a class to use a unit pays for the others. A class without samples in the batch adds
    nothing. Dividing by `n[c]` makes the penalty independent of the batch size. Where a class does not use a unit the norm
    has a kink, and its gradient is taken as zero there; elsewhere no gradient exceeds `weight / sqrt(n[c])`.

    Labels are needed in training only. A `keras_sae.models.SparseAutoencoder` takes them in place of the target,
    `fit(x, labels)`, or beside it, `fit(noisy, (clean, labels))`; where `evaluate` is given none, the penalty is not
    charged, and logged as 0.

    Args:
        weight: Float, at least 0.

    Shapes:
        `(batch, ..., units)` and integer labels `(batch,)` or `(batch, 1)` to a scalar. Any integers will do as labels.

    Example:

    >>> code = np.array([[3.0, 0.0], [4.0, 0.0], [0.0, 2.0]], "float32")
    >>> print(round(float(GroupL21().penalty(code, np.array([0, 0, 7]))), 4))      # sqrt((9 + 16) / 2) + 2
    5.5355

    Reference:
        Sankaran, Vatsa, Singh and Majumdar, "Group sparse autoencoder", Image and Vision Computing 60, 2017.
    """

    supervised = True

    def __init__(self, weight=1.0):
        if not (isinstance(weight, numbers.Real) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"`weight` must be a finite number of at least 0. Received: weight={weight!r}.")
        self.weight = float(weight)

    def totals(self, code, labels):
        """Sums of squares per class and unit, and the positions of each class: `(samples of the whole batch, units + 1)`.

        A class is told by the first sample in the batch that has its label, and has the row of that sample.
        """
        if code.shape[0] == 0:
            return ops.zeros((0, code.shape[-1] + 1))
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
        everyones, _ = gather_over_replicas(labels)
        samples = ops.shape(everyones)[0]
        same = ops.equal(ops.expand_dims(labels, 1), ops.expand_dims(everyones, 0))  # (batch, samples)
        first = ops.min(ops.where(same, ops.arange(samples, dtype="int32"), samples), axis=1, initial=2**31 - 1)
        inner = tuple(range(1, len(code.shape) - 1))
        squares = ops.sum(ops.square(code), axis=inner) if inner else ops.square(code)  # (batch, units)
        positions = ops.sum(ops.ones_like(code[..., :1]), axis=inner) if inner else ops.ones_like(code[:, :1])
        return ops.segment_sum(ops.concatenate([squares, positions], axis=1), first, samples)

    def value(self, totals, positions):
        squares = totals[:, :-1] / ops.maximum(totals[:, -1:], 1)
        unused = ops.equal(squares, 0)
        norms = ops.where(unused, ops.zeros_like(squares), ops.sqrt(ops.where(unused, ops.ones_like(squares), squares)))
        return self.weight * ops.sum(norms)

    def penalty(self, code, labels):
        """The penalty of a code: a scalar, 0 for a code without positions.

        Args:
            code: Float tensor of shape `(batch, ..., units)`. Half precision is summed in float32.
            labels: Integer tensor of shape `(batch,)` or `(batch, 1)`.
        """
        code = in_statistics_dtype(code)
        return value_or_zero(self, self.totals(code, labels), position_count(code))

    def __call__(self, code):
        raise TypeError(
            "GroupL21 needs class labels, which a layer's `activity_regularizer` is not given. Use it as the `sparsity` of a "
            "keras_sae.models.SparseAutoencoder and train with fit(x, labels), or call its `penalty(code, labels)`."
        )

    def get_config(self):
        return {"weight": self.weight}
