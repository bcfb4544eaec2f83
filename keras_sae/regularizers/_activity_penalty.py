import re

import keras
from keras import ops


def in_statistics_dtype(code):
    """Casts a code to float32, in which sums over it are taken; float64 stays."""
    code = ops.convert_to_tensor(code)
    return code if keras.backend.standardize_dtype(code.dtype) == "float64" else ops.cast(code, "float32")


def position_count(code):
    """The number of positions of a code, the product of all axes but the last, as a float scalar."""
    count = 1
    for size in ops.shape(code)[:-1]:
        count = count * size
    return ops.cast(count, in_statistics_dtype(code).dtype)


def penalty_name(penalty):
    """The name that a penalty is logged by: its own, or its class in snake case (`activity_kl`, `l1`)."""
    own = getattr(penalty, "name", None)
    return own or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(penalty).__name__).lower()


class ActivityPenalty(keras.regularizers.Regularizer):
    """Base class of penalties: functions of sums over the positions of a code.

    A subclass defines the sums (`totals`) and their cost (`value`). Because of this split a penalty is exact under a
    `tf.distribute` strategy: the sums of all replicas are added up first, and the cost is computed from the result.

    In a `keras_sae.models.SparseAutoencoder` a penalty is part of the objective. As `activity_regularizer=` of any Keras layer
    it has the same value: Keras, from 3.14 on, divides activity regularizers by the batch size, so calling the object returns
    `penalty(code)` times the batch size.

    Attributes:
        supervised: Whether `totals` takes class labels: `totals(code, labels)`.
        momentum: The weight of the past in a running mean of the totals, which the model keeps; or None.
    """

    supervised = False
    momentum = None

    def totals(self, code):
        """Sums over the positions of `code`, of shape `(batch, ..., units)`: a tensor of any one shape."""
        raise NotImplementedError

    def value(self, totals, positions):
        """The penalty, a scalar, from `totals` over that many `positions`."""
        raise NotImplementedError

    def check_activation(self, activation):
        """Raises ValueError where the formula is undefined on codes made by this activation function."""

    def penalty(self, code):
        """The penalty of a code: a scalar, 0 for a code without positions.

        Args:
            code: Float tensor of shape `(batch, ..., units)`. Half precision is summed in float32.
        """
        code = in_statistics_dtype(code)
        return value_or_zero(self, self.totals(code), position_count(code))

    def __call__(self, code):
        if self.momentum is not None:
            raise ValueError(
                "A layer's `activity_regularizer` cannot keep a running mean. Leave `momentum` out, or use the penalty "
                f"as the `sparsity` of a keras_sae.models.SparseAutoencoder. Received: momentum={self.momentum!r}."
            )
        code = in_statistics_dtype(code)
        return self.penalty(code) * ops.cast(ops.shape(code)[0], code.dtype)


def totals_of(penalty, code, labels=None):
    """`penalty.totals(code)`; for a regularizer of Keras its value, which is a sum over all entries."""
    if not isinstance(penalty, ActivityPenalty):
        return penalty(code)
    return penalty.totals(code, labels) if penalty.supervised else penalty.totals(code)


def value_or_zero(penalty, totals, positions):
    """The penalty of these totals, or 0 without positions. For a regularizer of Keras it is the mean over positions."""
    safe = ops.maximum(positions, 1)
    value = penalty.value(totals, safe) if isinstance(penalty, ActivityPenalty) else totals / safe
    return ops.where(positions > 0, value, ops.zeros_like(value))
