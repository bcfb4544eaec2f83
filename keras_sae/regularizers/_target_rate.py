from keras import ops

from keras_sae._checks import check_number
from keras_sae.regularizers._activity_penalty import ActivityPenalty
from keras_sae.regularizers._positions import weighted


class TargetRate(ActivityPenalty):
    """Base class of penalties that hold rates near a target. A subclass gives the cost of a rate, `charge(rate, target)`."""

    def __init__(self, target=0.05, weight=1.0, sparsity="lifetime", activation_range="sigmoid", momentum=None):
        if activation_range not in ("sigmoid", "tanh"):
            raise ValueError(
                '`activation_range` must be "sigmoid", for codes in [0, 1], or "tanh", for codes in [-1, 1]. '
                f"Received: activation_range={activation_range!r}."
            )
        if sparsity not in ("lifetime", "population"):
            raise ValueError(
                '`sparsity` must be "lifetime" (the mean of each unit over positions) or "population" (the mean of each '
                f"position over units). Received: sparsity={sparsity!r}."
            )
        if momentum is not None:
            meaning = "is the weight of the past in the running mean of the rates, or None for the rates of the batch,"
            momentum = check_number("momentum", momentum, meaning, at_least=0, below=1)
        if momentum is not None and sparsity == "population":
            raise ValueError(
                "`momentum` keeps a running mean of each unit's rate, and population sparsity compares no rates of units. "
                f'Received: momentum={momentum!r}, sparsity="population". Leave `momentum` out.'
            )
        self.target = check_number("target", target, "is the mean activation to aim for")
        self.weight = check_number("weight", weight, "is the factor of the penalty", at_least=0)
        self.sparsity = sparsity
        self.activation_range = activation_range
        self.momentum = momentum
        self.check_target()

    def check_target(self):
        """Raises ValueError where the formula is undefined at this target."""
        raise NotImplementedError

    def charge(self, rate, target):
        """The cost of a rate, elementwise. For the tanh range, both are mapped to (0, 1) before."""
        raise NotImplementedError

    @property
    def default_activation(self):
        return self.activation_range

    def totals(self, code, weights=None):
        if self.sparsity == "lifetime":
            return ops.sum(weighted(code, weights), axis=tuple(range(len(code.shape) - 1)))  # (units,)
        return ops.sum(weighted(self._charge(ops.mean(code, axis=-1)), weights))  # ()

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
