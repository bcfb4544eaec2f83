import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.metrics._code_metric import CodeMetric, PerUnitMetric, add_sum, add_to
from keras_sae.regularizers import position_count, weighted

# Below the smallest normal number of float32 some devices flush to zero. XLA divides by multiplying with the reciprocal, and
# a quarter of the largest number is the largest whose reciprocal is not below it.
_SMALLEST_NORMAL = 2.0**-126
_QUARTER = 0.25

# Where no entry of a code is exactly zero, as with sigmoid units, a unit above this counts as active.
ACTIVE_ABOVE = 0.1
_ACTIVE = "is the absolute value above which a unit counts as active"


@keras.saving.register_keras_serializable(package="keras_sae")
class L0(CodeMetric):
    """Mean number of active units of a position: entries above `threshold` in absolute value.

    An entry of NaN makes the result NaN.

    Args:
        threshold: Float, at least 0. With 0, all entries other than zero count.

    Example:

    >>> metric = L0()
    >>> metric.update_state(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, -3.0]]))
    >>> print(float(metric.result()))
    1.5
    """

    def __init__(self, threshold=0.0, name="l0", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.threshold = check_number("threshold", threshold, _ACTIVE, at_least=0)
        self.active = add_sum(self, "active")
        self.positions = add_sum(self, "positions")

    def tally(self, code, weights=None):
        active = ops.cast(ops.abs(code) > self.threshold, code.dtype)
        add_to(self.active, ops.sum(weighted(ops.where(ops.isnan(code), code, active), weights)))
        add_to(self.positions, position_count(code, weights))

    def result(self):
        return ops.divide_no_nan(self.active, self.positions)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sae")
class MeanRate(CodeMetric):
    """Mean activation over all positions and units: the mean of the units' rates.

    Example:

    >>> metric = MeanRate()
    >>> metric.update_state(np.array([[0.0, 2.0], [1.0, 0.0]]))
    >>> print(float(metric.result()))
    0.75
    """

    def __init__(self, name="mean_rate", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = add_sum(self, "total")
        self.positions = add_sum(self, "positions")

    def tally(self, code, weights=None):
        add_to(self.total, ops.sum(weighted(ops.mean(code, axis=-1), weights)))
        add_to(self.positions, position_count(code, weights))

    def result(self):
        return ops.divide_no_nan(self.total, self.positions)


@keras.saving.register_keras_serializable(package="keras_sae")
class Rates(PerUnitMetric):
    """The rate of every unit, its mean activation over positions: a vector of shape `(units,)`.

    It is a vector in the logs too: `fit` appends an array of shape `(units,)` to `history` after each epoch, and a progress
    bar shows its mean. Use `MeanRate` where a number is needed, such as in a callback that monitors a metric.

    Args:
        units: Integer, at least 1. The width of the code, by default that of the first code. Before the first code the
            result is an empty vector.

    Example:

    >>> metric = Rates()
    >>> metric.update_state(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    >>> print(keras.ops.convert_to_numpy(metric.result()))
    [0.5 1.  0. ]
    """

    def __init__(self, units=None, name="rates", dtype=None):
        super().__init__(units, name=name, dtype=dtype)
        self.positions = add_sum(self, "positions")

    def make_variables(self, units):
        self.totals = add_sum(self, "totals", (units,))

    def tally(self, code, weights=None):
        add_to(self.totals, ops.sum(weighted(code, weights), axis=tuple(range(len(code.shape) - 1))))
        add_to(self.positions, position_count(code, weights))

    def result(self):
        totals = ops.zeros((0,), self.positions.dtype) if self._width is None else self.totals
        return ops.divide_no_nan(totals, self.positions)


@keras.saving.register_keras_serializable(package="keras_sae")
class DeadUnits(PerUnitMetric):
    """Number of units that fired at no position since the last reset.

    A unit fires where its entry is above `threshold` in absolute value; a NaN does not count. Sigmoid units are never exactly
    zero: choose a value below which a unit counts as silent. The metric has no meaning for codes in (-1, 1), where -1 means
    inactive.

    Args:
        units: Integer, at least 1. The width of the code, by default that of the first code. Before the first code the
            result is `units`, or 0 where it is not given.
        threshold: Float, at least 0.

    Example:

    >>> metric = DeadUnits(units=3)
    >>> metric.update_state(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    >>> print(float(metric.result()))
    1.0
    """

    direction = "min"

    def __init__(self, units=None, threshold=0.0, name="dead_units", dtype=None):
        super().__init__(units, name=name, dtype=dtype)
        self.threshold = check_number("threshold", threshold, _ACTIVE, at_least=0)

    def make_variables(self, units):
        self.fired = add_sum(self, "fired", (units,))

    def tally(self, code, weights=None):
        fired = weighted(ops.cast(ops.abs(code) > self.threshold, code.dtype), weights)
        # A sum rather than a maximum, because replicas add up their states.
        add_to(self.fired, ops.sum(fired, axis=tuple(range(len(fired.shape) - 1))))

    def result(self):
        if self._width is None:
            return ops.zeros((), "float32")
        return ops.sum(ops.cast(ops.equal(self.fired, 0), self.fired.dtype))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sae")
class HoyerSparsity(CodeMetric):
    """Hoyer's sparseness of a code, averaged over positions. It measures how few units carry the magnitude, at any scale.

    With `n` units, at a position `i`:

        sparseness[i] = (sqrt(n) - l1[i] / l2[i]) / (sqrt(n) - 1)

    0 where all units have equal magnitude, 1 where a single unit is active. Unlike `L0` it needs no threshold, so it can
    compare codes with exact zeros and codes with small values.

    A position where nothing fires has no sparseness and is left out of the mean; without any other position the result is 0.
    Entries below 2^-124 (5e-38) in absolute value count as zero, because float32 ends there. An entry of NaN makes the result
    NaN. Codes need at least two units.

    Example:

    >>> metric = HoyerSparsity()
    >>> metric.update_state(np.array([[3.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    >>> print(float(metric.result()))
    0.5

    Reference:
        Hoyer, "Non-negative Matrix Factorization with Sparseness Constraints", JMLR 5, 2004. Compared with other measures
        in Hurley and Rickard, "Comparing Measures of Sparsity", IEEE Transactions on Information Theory 55, 2009.
    """

    def __init__(self, name="hoyer_sparsity", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = add_sum(self, "total")
        self.positions = add_sum(self, "positions")

    def build(self, units):
        if units == 1:
            raise ValueError(
                f"Hoyer's sparseness compares the units of a position, and needs at least two. Received: units={units}."
            )

    def tally(self, code, weights=None):
        root = ops.sqrt(ops.cast(ops.shape(code)[-1], code.dtype))
        size = _QUARTER * ops.abs(code)
        size = ops.where(size < _SMALLEST_NORMAL, ops.zeros_like(size), size)
        fires = ops.any(ops.not_equal(size, 0), axis=-1, keepdims=True)  # true of NaN
        # Scaled by the largest entry, so that no square over- or underflows. `initial` is the maximum of an empty batch.
        largest = ops.max(size, axis=-1, keepdims=True, initial=0.0)
        size = size / ops.where(fires, largest, ops.ones_like(largest))
        fires = ops.cast(fires[..., 0], code.dtype)
        counted = weighted(fires, weights)
        l1, l2 = ops.sum(size, axis=-1), ops.sqrt(ops.sum(ops.square(size), axis=-1))
        sparseness = (root - l1 / ops.where(fires > 0, l2, ops.ones_like(l2))) / (root - 1)
        add_to(self.total, ops.sum(sparseness * counted))
        add_to(self.positions, ops.sum(counted))

    def result(self):
        return ops.divide_no_nan(self.total, self.positions)
