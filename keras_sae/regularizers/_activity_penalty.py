import inspect
import re

import keras
from keras import ops

from keras_sae._checks import KnownArguments
from keras_sae.regularizers._positions import in_statistics_dtype, position_count, position_weights


def penalty_name(penalty):
    """The name that a penalty is logged by: its own, or its class in snake case (`activity_kl`, `l1`)."""
    own = getattr(penalty, "name", None)
    return own or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(penalty).__name__).lower()


class ActivityPenalty(KnownArguments, keras.regularizers.Regularizer):
    """Base class of penalties: functions of sums over the positions of a code.

    A subclass defines the sums (`totals`) and their cost (`value`). Because of this split a penalty is exact under a
    `tf.distribute` strategy: the sums of all replicas are added up first, and the cost is computed from the result.

    In a `keras_sae.models.SparseAutoencoder` a penalty is part of the objective. As `activity_regularizer=` of any Keras layer
    it has the same value: Keras, from 3.14 on, divides activity regularizers by the batch size, so calling the object returns
    `penalty(code)` times the batch size.

    Where positions have weights (sample weights, or a mask of padded steps), `totals` multiplies what it sums by them, and
    `value` gets their sum in place of the number of positions. A position of weight 0 then changes nothing. A subclass whose
    `totals` takes no `weights` is refused where there are some.

    Attributes:
        supervised: Whether `totals` takes class labels: `totals(code, labels)`.
        momentum: The weight of the past in a running mean of the totals, which the model keeps; or None.
    """

    supervised = False
    momentum = None

    def totals(self, code, weights=None):
        """Sums over the positions of `code`, of shape `(batch, ..., units)`: a tensor of any one shape.

        `weights` are None, or the weight of each position, of shape `(batch, ...)`.
        """
        raise NotImplementedError

    def value(self, totals, positions):
        """The penalty, a scalar, from `totals` over that many `positions`, or positions of that total weight."""
        raise NotImplementedError

    def check_activation(self, activation):
        """Raises ValueError where the formula is undefined on codes made by this activation function."""

    def penalty(self, code, sample_weight=None):
        """The penalty of a code: a scalar, 0 for a code without positions.

        Args:
            code: Float tensor of shape `(batch, ..., units)`. Half precision is summed in float32.
            sample_weight: None, or weights of samples `(batch,)` or of positions `(batch, ...)`.
        """
        code = in_statistics_dtype(code)
        weights = position_weights(code, sample_weight)
        return value_or_zero(self, totals_of(self, code, weights=weights), position_count(code, weights))

    def __call__(self, code):
        if self.momentum is not None:
            raise ValueError(
                "A layer's `activity_regularizer` cannot keep a running mean. Leave `momentum` out, or use the penalty "
                f"as the `sparsity` of a keras_sae.models.SparseAutoencoder. Received: momentum={self.momentum!r}."
            )
        code = in_statistics_dtype(code)
        return self.penalty(code) * ops.cast(ops.shape(code)[0], code.dtype)


def totals_of(penalty, code, labels=None, weights=None):
    """`penalty.totals(code)`, with labels and weights where there are some."""
    arguments = (code, labels) if penalty.supervised else (code,)
    if weights is None:
        return penalty.totals(*arguments)
    if "weights" not in inspect.signature(penalty.totals).parameters:
        raise ValueError(
            f"The penalty {penalty_name(penalty)!r} cannot weight positions, which sample weights and masks ask for: its "
            "method `totals` takes no argument `weights`. Multiply what it sums by `weights`, of shape `(batch, ...)`, or "
            "train without weights and masks."
        )
    return penalty.totals(*arguments, weights=weights)


def value_or_zero(penalty, totals, positions):
    """The penalty of these totals, or 0 without positions."""
    value = penalty.value(totals, ops.where(positions > 0, positions, ops.ones_like(positions)))
    return ops.where(positions > 0, value, ops.zeros_like(value))
