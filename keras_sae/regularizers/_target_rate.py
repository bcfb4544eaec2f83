import math
import numbers

from keras import ops

from keras_sae.regularizers._activity_penalty import ActivityPenalty


class TargetRate(ActivityPenalty):
    """What the penalties that hold rates near a target share: their arguments, and which rates are meant.

    A subclass says what a rate costs, `charge(rate, target)`, elementwise.
    """

    def __init__(self, target=0.05, weight=1.0, sparsity="lifetime", activation_range="sigmoid", momentum=None):
        if activation_range not in ("sigmoid", "tanh"):
            raise ValueError(
                '`activation_range` must be "sigmoid", for codes in [0, 1], or "tanh", for codes in [-1, 1]. '
                f"Received: activation_range={activation_range!r}."
            )
        if not isinstance(target, numbers.Real) or isinstance(target, bool):
            raise ValueError(f"`target` is the mean activation to aim for, a number. Received: target={target!r}.")
        if not (isinstance(weight, numbers.Real) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"`weight` must be a finite number of at least 0. Received: weight={weight!r}.")
        if sparsity not in ("lifetime", "population"):
            raise ValueError(
                '`sparsity` must be "lifetime" (the mean of each unit over positions) or "population" (the mean of each '
                f"position over units). Received: sparsity={sparsity!r}."
            )
        if momentum is not None and not (isinstance(momentum, numbers.Real) and 0 <= momentum < 1):
            raise ValueError(
                "`momentum` is the weight of the past in the running mean of the rates and must lie in [0, 1), or be None "
                f"for the mean of the batch alone. Received: momentum={momentum!r}."
            )
        if momentum is not None and sparsity == "population":
            raise ValueError(
                "`momentum` keeps a running mean of each unit's rate; population sparsity is a matter of one position, which "
                f'has no past. Received: momentum={momentum!r}, sparsity="population".'
            )
        self.target = float(target)
        self.weight = float(weight)
        self.sparsity = sparsity
        self.activation_range = activation_range
        self.momentum = None if momentum is None else float(momentum)
        self.check_target()

    def check_target(self):
        """Raises ValueError where the formula is undefined at this target."""
        raise NotImplementedError

    def charge(self, rate, target):
        """What a rate costs, elementwise. For the tanh range both are mapped to (0, 1) already."""
        raise NotImplementedError

    @property
    def default_activation(self):
        return self.activation_range

    def totals(self, code):
        if self.sparsity == "lifetime":
            return ops.sum(code, axis=tuple(range(len(code.shape) - 1)))  # (units,)
        return ops.sum(self._charge(ops.mean(code, axis=-1)))  # ()

    def value(self, totals, positions):
        if self.sparsity == "lifetime":
            return self.weight * ops.sum(self._charge(totals / positions))
        return self.weight * totals / positions

    def _charge(self, rate):
        if self.activation_range == "tanh":
            return self.charge((1 + rate) / 2, (1 + self.target) / 2)
        return self.charge(rate, self.target)

    def get_config(self):
        return {
            "target": self.target,
            "weight": self.weight,
            "sparsity": self.sparsity,
            "activation_range": self.activation_range,
            "momentum": self.momentum,
        }
