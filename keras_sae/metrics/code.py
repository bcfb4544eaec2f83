import keras
from keras import ops

from keras_sae.regularizers.activity_penalty import in_statistics_dtype, position_count


@keras.saving.register_keras_serializable(package="keras_sae")
class L0(keras.metrics.Metric):
    """Mean number of active units at a position: of entries above `threshold` in absolute value.

    `update_state` takes a code of shape `(batch, ..., units)`.

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
        self.threshold = threshold
        self.active = self.add_variable(shape=(), initializer="zeros", name="active")
        self.positions = self.add_variable(shape=(), initializer="zeros", name="positions")

    def update_state(self, code):
        code = in_statistics_dtype(code)
        self.active.assign_add(ops.sum(ops.cast(ops.abs(code) > self.threshold, self.dtype)))
        self.positions.assign_add(ops.cast(position_count(code), self.dtype))

    def result(self):
        return ops.divide_no_nan(self.active, self.positions)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sae")
class MeanRate(keras.metrics.Metric):
    """Mean activation over all positions and units: the mean of the units' rates.

    `update_state` takes a code of shape `(batch, ..., units)`.

    Example:

    >>> metric = MeanRate()
    >>> metric.update_state(np.array([[0.0, 2.0], [1.0, 0.0]]))
    >>> print(float(metric.result()))
    0.75
    """

    def __init__(self, name="mean_rate", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.positions = self.add_variable(shape=(), initializer="zeros", name="positions")

    def update_state(self, code):
        code = in_statistics_dtype(code)
        self.total.assign_add(ops.cast(ops.sum(ops.mean(code, axis=-1)), self.dtype))
        self.positions.assign_add(ops.cast(position_count(code), self.dtype))

    def result(self):
        return ops.divide_no_nan(self.total, self.positions)


@keras.saving.register_keras_serializable(package="keras_sae")
class DeadUnits(keras.metrics.Metric):
    """Number of units that fired at no position since the last reset.

    A unit fires where its entry is above `threshold` in absolute value. Sigmoid units are never exactly zero: for them,
    give the value below which a unit counts as silent. For codes in (-1, 1), where -1 means inactive, this metric has no
    meaning.

    `update_state` takes a code of shape `(batch, ..., units)`.

    Args:
        units: Integer, the width of the code.
        threshold: Float, at least 0.

    Example:

    >>> metric = DeadUnits(units=3)
    >>> metric.update_state(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    >>> print(float(metric.result()))
    1.0
    """

    def __init__(self, units, threshold=0.0, name="dead_units", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.units = units
        self.threshold = threshold
        self.fired = self.add_variable(shape=(units,), initializer="zeros", name="fired")

    def update_state(self, code):
        fired = ops.cast(ops.abs(in_statistics_dtype(code)) > self.threshold, self.dtype)
        # A sum rather than a maximum, because replicas add up what they saw.
        self.fired.assign_add(ops.sum(fired, axis=tuple(range(len(fired.shape) - 1))))

    def result(self):
        return ops.sum(ops.cast(ops.equal(self.fired, 0), self.dtype))

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "units": self.units, "threshold": self.threshold}
