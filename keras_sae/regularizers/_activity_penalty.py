import re

import keras
from keras import ops


def in_statistics_dtype(code):
    """Casts a code to the type that sums over it are taken in: float64 stays, everything else becomes float32."""
    code = ops.convert_to_tensor(code)
    return code if keras.backend.standardize_dtype(code.dtype) == "float64" else ops.cast(code, "float32")


def position_count(code):
    """Counts the positions of a code, the product of every axis but the last, as a scalar in the statistics' type."""
    count = 1
    for size in ops.shape(code)[:-1]:
        count = count * size
    return ops.cast(count, in_statistics_dtype(code).dtype)


def penalty_name(penalty):
    """The name under which a penalty is logged: its own, or its class in snake case (`activity_kl`, `l1`)."""
    own = getattr(penalty, "name", None)
    return own or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(penalty).__name__).lower()


class ActivityPenalty(keras.regularizers.Regularizer):
    """What every penalty on a code shares: it is a function of sums over positions.

    A subclass says which sums (`totals`) and what they cost (`value`). That split is what makes a penalty exact: sums can
    be added up over the replicas of a distributed batch before the cost is taken, which a mean of costs cannot.

    Used in a `keras_sae.models.SparseAutoencoder`, a penalty is part of the objective. Given to any Keras layer as
    `activity_regularizer=`, it is the same number: Keras (from 3.14 on) divides an activity regularizer by the batch size,
    so calling the object returns `penalty(code)` times the batch size.

    Attributes:
        supervised: Whether `totals` takes class labels, `totals(code, labels)`.
        momentum: None, or the weight of the past in a running mean of the totals, which the model keeps.
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
                "A layer's `activity_regularizer` has no place for a running mean. Leave `momentum` out, or use the penalty "
                f"as the `sparsity` of a keras_sae.models.SparseAutoencoder. Received: momentum={self.momentum!r}."
            )
        code = in_statistics_dtype(code)
        return self.penalty(code) * ops.cast(ops.shape(code)[0], code.dtype)


def totals_of(penalty, code, labels=None):
    """`penalty.totals(code)`, for Keras' own regularizers too: these are sums over all entries already."""
    if not isinstance(penalty, ActivityPenalty):
        return penalty(code)
    return penalty.totals(code, labels) if penalty.supervised else penalty.totals(code)


def value_or_zero(penalty, totals, positions):
    """The penalty of these totals, and 0 where there are no positions. A Keras regularizer costs its mean over positions."""
    safe = ops.maximum(positions, 1)
    value = penalty.value(totals, safe) if isinstance(penalty, ActivityPenalty) else totals / safe
    return ops.where(positions > 0, value, ops.zeros_like(value))
