import keras
from keras import ops

from keras_sae._checks import check_integer, check_number
from keras_sae.regularizers import in_statistics_dtype, position_count

# Below the smallest normal number of float32 some devices flush to zero. XLA divides by multiplying with the reciprocal, and
# a quarter of the largest number is the largest whose reciprocal is not below it.
_SMALLEST_NORMAL = 2.0**-126
_QUARTER = 0.25

_ACTIVE = "is the absolute value above which a unit counts as active"


def add_sum(metric, name, shape=()):
    """Adds a variable for a sum to a metric, in float32 or wider. Replicas add their sums up."""
    dtype = "float64" if metric.dtype == "float64" else "float32"
    return metric.add_variable(shape=shape, initializer="zeros", dtype=dtype, name=name)


def add_to(variable, value):
    """Adds a tensor to the variable, in the dtype of the variable."""
    variable.assign_add(ops.cast(value, variable.dtype))


class CodeMetric(keras.metrics.Metric):
    """Base class of metrics of a code. `update_state` takes a code of shape `(batch, ..., units)` and nothing else.

    A subclass defines the sums (`tally`) and the result from them (`result`). The state holds only sums over positions: they
    do not depend on the split into batches, and the replicas of a `tf.distribute` strategy add theirs up. Sums are kept in
    float32, or in float64 with `dtype="float64"`.

    Variables with an entry for each unit are made by `build`. Models call it, because they know the width of the code.
    Otherwise the first `update_state` calls it, and must then run eagerly.
    """

    def __init__(self, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)

    def build(self, units):
        """Makes the variables with an entry for each unit, by default none. Building again does nothing.

        Args:
            units: Integer, the width of the code, the size of its last axis.
        """

    def tally(self, code):
        """Adds the sums over a code to the state. It has the shape `(batch, ..., units)` and is float32 or float64."""
        raise NotImplementedError

    def update_state(self, code):
        code = in_statistics_dtype(code)
        if len(code.shape) < 2:
            raise ValueError(
                "A code has shape `(batch, ..., units)`, of at least two axes. "
                f"Received: a code of shape {tuple(code.shape)}. Give a single position as `code[None]`."
            )
        self.build(code.shape[-1])
        self.tally(code)


class _PerUnitMetric(CodeMetric):
    """A metric with an entry for each unit. Its variables are made when the width of the code is known.

    Args:
        units: Integer, at least 1, or None where the width is not known yet.
    """

    def __init__(self, units=None, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.units = units  # as given, so that the config leaves the width open where the user did
        self._width = None
        if units is not None:
            self.build(units)

    def build(self, units):
        units = check_integer("units", units, "is the width of the code, the size of its last axis,")
        if self._width is None:
            self._width = units
            self.make_variables(units)
        elif units != self._width:
            raise ValueError(
                f"The metric {self.name!r} counts for each of {self._width} units, the width of its first code. "
                f"Received: units={units}. Make another metric for a code of another width."
            )

    def make_variables(self, units):
        """Makes the variables of shape `(units,)`."""
        raise NotImplementedError

    def get_config(self):
        return {**super().get_config(), "units": self.units}


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

    def tally(self, code):
        active = ops.cast(ops.abs(code) > self.threshold, code.dtype)
        add_to(self.active, ops.sum(ops.where(ops.isnan(code), code, active)))
        add_to(self.positions, position_count(code))

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

    def tally(self, code):
        add_to(self.total, ops.sum(ops.mean(code, axis=-1)))
        add_to(self.positions, position_count(code))

    def result(self):
        return ops.divide_no_nan(self.total, self.positions)


@keras.saving.register_keras_serializable(package="keras_sae")
class Rates(_PerUnitMetric):
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

    def tally(self, code):
        add_to(self.totals, ops.sum(code, axis=tuple(range(len(code.shape) - 1))))
        add_to(self.positions, position_count(code))

    def result(self):
        totals = ops.zeros((0,), self.positions.dtype) if self._width is None else self.totals
        return ops.divide_no_nan(totals, self.positions)


@keras.saving.register_keras_serializable(package="keras_sae")
class DeadUnits(_PerUnitMetric):
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

    def __init__(self, units=None, threshold=0.0, name="dead_units", dtype=None):
        super().__init__(units, name=name, dtype=dtype)
        self.threshold = check_number("threshold", threshold, _ACTIVE, at_least=0)

    def make_variables(self, units):
        self.fired = add_sum(self, "fired", (units,))

    def tally(self, code):
        fired = ops.cast(ops.abs(code) > self.threshold, code.dtype)
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

    def tally(self, code):
        root = ops.sqrt(ops.cast(ops.shape(code)[-1], code.dtype))
        size = _QUARTER * ops.abs(code)
        size = ops.where(size < _SMALLEST_NORMAL, ops.zeros_like(size), size)
        fires = ops.any(ops.not_equal(size, 0), axis=-1, keepdims=True)  # true of NaN
        # Scaled by the largest entry, so that no square over- or underflows. `initial` is the maximum of an empty batch.
        largest = ops.max(size, axis=-1, keepdims=True, initial=0.0)
        size = size / ops.where(fires, largest, ops.ones_like(largest))
        fires = ops.cast(fires[..., 0], code.dtype)
        l1, l2 = ops.sum(size, axis=-1), ops.sqrt(ops.sum(ops.square(size), axis=-1))
        sparseness = (root - l1 / ops.where(fires > 0, l2, ops.ones_like(l2))) / (root - 1)
        add_to(self.total, ops.sum(sparseness * fires))
        add_to(self.positions, ops.sum(fires))

    def result(self):
        return ops.divide_no_nan(self.total, self.positions)
