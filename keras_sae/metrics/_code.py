import math
import numbers

import keras
from keras import ops

from keras_sae.regularizers import in_statistics_dtype, position_count

# Below float32's smallest normal number some devices flush to zero, and others do not. A quarter of its largest number is
# the largest whose reciprocal is no smaller, and XLA divides by multiplying with a reciprocal.
_SMALLEST_NORMAL = 2.0**-126
_QUARTER = 0.25


def add_sum(metric, name, shape=()):
    """Adds a variable of zeros to a metric, in float32 or wider: it holds a sum, which replicas add up."""
    dtype = "float64" if metric.dtype == "float64" else "float32"
    return metric.add_variable(shape=shape, initializer="zeros", dtype=dtype, name=name)


def add_to(variable, value):
    """Adds a tensor to the variable, in the variable's type."""
    variable.assign_add(ops.cast(value, variable.dtype))


class CodeMetric(keras.metrics.Metric):
    """What every metric of a code shares: `update_state` takes a code of shape `(batch, ..., units)`, and nothing else.

    A subclass says what it adds up (`tally`) and what follows from the sums (`result`). State is made of sums over
    positions alone: they depend on no split into batches, and the replicas of a `tf.distribute` strategy add theirs up.
    They are kept in float32, in float64 with `dtype="float64"`, and never in less.

    Variables of one entry a unit are made by `build`. A model that knows the width of its code calls it; where nobody
    did, the first `update_state` does, which must then run eagerly.
    """

    def __init__(self, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)

    def build(self, units):
        """Makes the variables that have an entry for each unit. There are none by default. Building again does nothing.

        Args:
            units: Integer, the width of the code: the size of its last axis.
        """

    def tally(self, code):
        """Adds up what the code, a tensor of shape `(batch, ..., units)` in the statistics' type, has to say."""
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
    """A metric of one entry a unit, whose variables wait until the width of the code is known.

    Args:
        units: Integer, at least 1, or None where the width is not known yet.
    """

    def __init__(self, units=None, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.units = units  # as given, so that a config which leaves the width open still does
        self._width = None
        if units is not None:
            self.build(units)

    def build(self, units):
        if isinstance(units, bool) or not hasattr(units, "__index__") or units < 1:
            raise ValueError(
                "`units` is the width of the code, the size of its last axis, and must be an integer of at least 1. "
                f"Received: units={units!r}."
            )
        if self._width is None:
            self._width = int(units)
            self.make_variables(self._width)
        elif units != self._width:
            raise ValueError(
                f"The metric {self.name!r} counts for each of {self._width} units, the width of the code it was made for "
                f"or saw first. Received: units={int(units)}. Make another metric for a code of another width."
            )

    def make_variables(self, units):
        """Makes the variables of shape `(units,)`."""
        raise NotImplementedError

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="keras_sae")
class L0(CodeMetric):
    """Mean number of active units at a position: of entries above `threshold` in absolute value.

    An entry of NaN makes the result NaN.

    Args:
        threshold: Float, at least 0. At 0, entries other than zero are counted.

    Example:

    >>> metric = L0()
    >>> metric.update_state(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, -3.0]]))
    >>> print(float(metric.result()))
    1.5
    """

    def __init__(self, threshold=0.0, name="l0", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.threshold = _checked_threshold(threshold)
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

    Being a vector, it is one in the logs too: `fit` appends an array of shape `(units,)` to `history` after each epoch,
    and a progress bar shows the mean of it. Use `MeanRate` where a number is wanted, as by a callback that monitors one.

    Args:
        units: Integer, at least 1: the width of the code. By default, that of the first code. Until one is seen the
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

    A unit fires where its entry is above `threshold` in absolute value; NaN is no firing. Sigmoid units are never exactly
    zero: for them, give the value below which a unit counts as silent. For codes in (-1, 1), where -1 means inactive,
    this metric has no meaning.

    Args:
        units: Integer, at least 1: the width of the code. By default, that of the first code. Until one is seen there
            are no units, and the result is 0; with `units` given it is `units`.
        threshold: Float, at least 0.

    Example:

    >>> metric = DeadUnits(units=3)
    >>> metric.update_state(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    >>> print(float(metric.result()))
    1.0
    """

    def __init__(self, units=None, threshold=0.0, name="dead_units", dtype=None):
        super().__init__(units, name=name, dtype=dtype)
        self.threshold = _checked_threshold(threshold)

    def make_variables(self, units):
        self.fired = add_sum(self, "fired", (units,))

    def tally(self, code):
        fired = ops.cast(ops.abs(code) > self.threshold, code.dtype)
        # A sum rather than a maximum, because replicas add up what they saw.
        add_to(self.fired, ops.sum(fired, axis=tuple(range(len(fired.shape) - 1))))

    def result(self):
        if self._width is None:
            return ops.zeros((), "float32")
        return ops.sum(ops.cast(ops.equal(self.fired, 0), self.fired.dtype))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sae")
class HoyerSparsity(CodeMetric):
    """Hoyer's sparseness of a code, averaged over positions: how few units carry the magnitude, whatever its scale.

    With `n` units, at a position `i`:

        sparseness[i] = (sqrt(n) - l1[i] / l2[i]) / (sqrt(n) - 1)

    0 where all units are equal in magnitude, 1 where a single one is active. Unlike `L0` it needs no threshold, so it
    compares codes that are exactly zero with codes that are only small.

    A position where nothing fires has no sparseness, and is left out of the mean; the result is 0 where there is no other.
    An entry counts as zero below 2^-124 (5e-38) in absolute value, where float32 ends. An entry of NaN makes the result
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
                "Hoyer's sparseness compares the units of a position with each other, and needs at least two. "
                f"Received: units={units}."
            )

    def tally(self, code):
        root = ops.sqrt(ops.cast(ops.shape(code)[-1], code.dtype))
        size = _QUARTER * ops.abs(code)
        size = ops.where(size < _SMALLEST_NORMAL, ops.zeros_like(size), size)
        fires = ops.any(ops.not_equal(size, 0), axis=-1, keepdims=True)  # true of NaN
        # Scaled by the largest entry, so that no square over- or underflows. Keras takes no maximum of an empty batch
        # unless told what that is.
        largest = ops.max(size, axis=-1, keepdims=True, initial=0.0)
        size = size / ops.where(fires, largest, ops.ones_like(largest))
        fires = ops.cast(fires[..., 0], code.dtype)
        l1, l2 = ops.sum(size, axis=-1), ops.sqrt(ops.sum(ops.square(size), axis=-1))
        sparseness = (root - l1 / ops.where(fires > 0, l2, ops.ones_like(l2))) / (root - 1)
        add_to(self.total, ops.sum(sparseness * fires))
        add_to(self.positions, ops.sum(fires))

    def result(self):
        return ops.divide_no_nan(self.total, self.positions)


def _checked_threshold(threshold):
    if not (isinstance(threshold, numbers.Real) and math.isfinite(threshold) and threshold >= 0):
        raise ValueError(
            "`threshold` is the absolute value above which a unit counts as active, and must be a finite number of at "
            f"least 0. Received: threshold={threshold!r}."
        )
    return float(threshold)
