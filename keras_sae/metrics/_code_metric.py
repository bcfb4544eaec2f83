import inspect

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer
from keras_sae.regularizers import in_statistics_dtype, position_weights


def add_sum(metric, name, shape=()):
    """Adds a variable for a sum to a metric, in float32 or wider. Replicas add their sums up."""
    dtype = "float64" if metric.dtype == "float64" else "float32"
    return metric.add_variable(shape=shape, initializer="zeros", dtype=dtype, name=name)


def add_to(variable, value):
    """Adds a tensor to the variable, in the dtype of the variable."""
    variable.assign_add(ops.cast(value, variable.dtype))


class CodeMetric(KnownArguments, keras.metrics.Metric):
    """Base class of metrics of a code. `update_state` takes a code of shape `(batch, ..., units)`, and weights.

    A subclass defines the sums (`tally`) and the result from them (`result`). The state holds only sums over positions: they
    do not depend on the split into batches, and the replicas of a `tf.distribute` strategy add theirs up. Sums are kept in
    float32, or in float64 with `dtype="float64"`.

    Sample weights and masks weight the sums, whether the metric is compiled in `metrics` or in `weighted_metrics`: positions
    of weight 0 count nowhere.

    Attributes:
        direction: `"min"` or `"max"` where less or more is better, so that callbacks such as `EarlyStopping` can monitor the
            metric with their default mode. None where that depends on the aim.

    Variables with an entry for each unit are made by `build`. Models call it, because they know the width of the code.
    Otherwise the first `update_state` calls it, and must then run eagerly.
    """

    direction = None

    def __init__(self, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)

    def build(self, units):
        """Makes the variables with an entry for each unit, by default none. Building again does nothing.

        Args:
            units: Integer, the width of the code, the size of its last axis.
        """

    def tally(self, code, weights=None):
        """Adds the sums over a code to the state.

        Args:
            code: Tensor of shape `(batch, ..., units)`, float32 or float64.
            weights: None, or the weight of each position, of shape `(batch, ...)`. Where there are weights, a metric whose
                `tally` does not take them is refused.
        """
        raise NotImplementedError

    def update_state(self, code, sample_weight=None, mask=None):
        """Adds a code to the state.

        Args:
            code: Tensor of shape `(batch, ..., units)`.
            sample_weight: None, or weights of samples `(batch,)` or of positions `(batch, ...)`.
            mask: None, or the mask of the steps, `(batch, steps)`.
        """
        code = in_statistics_dtype(code)
        if len(code.shape) < 2:
            raise ValueError(
                "A code has shape `(batch, ..., units)`, of at least two axes. "
                f"Received: a code of shape {tuple(code.shape)}. Give a single position as `code[None]`."
            )
        self.build(code.shape[-1])
        weights = position_weights(code, sample_weight, mask)
        if weights is None:
            return self.tally(code)
        if "weights" not in inspect.signature(self.tally).parameters:
            raise ValueError(
                f"The metric {self.name!r} cannot weight positions, which sample weights and masks ask for: its method `tally` "
                "takes no argument `weights`, of shape `(batch, ...)`. Add it, or leave weights and masks out."
            )
        return self.tally(code, weights=weights)


class PerUnitMetric(CodeMetric):
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
