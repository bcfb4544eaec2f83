import math

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number
from keras_sae.distributed import sum_over_replicas
from keras_sae.metrics._code_metric import add_sum, add_to

# A variance below this share of the squares about the pivot is rounding error.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_sae")
class ExplainedVariance(KnownArguments, keras.metrics.Metric):
    """The share of the variance of the data, about the mean, that the reconstruction explains.

    With `mean` the mean of each feature over all samples seen, and sums over samples `i` and features `j`:

        1 - sum_ij (y[i, j] - y_pred[i, j])^2 / sum_ij (y[i, j] - mean[j])^2

    1 for a perfect reconstruction, 0 for one that is always `mean`, negative for a worse one. A feature is an entry of a
    sample, such as a pixel; features with a large variance count most. It equals scikit-learn's
    `r2_score(..., multioutput="variance_weighted")`. A bias of the reconstruction counts as error, unlike in scikit-learn's
    `explained_variance_score`.

    For data without variance the result is 1 where the reconstruction is exact, else 0. Before the first sample it is 0.

    Use it in `compile(metrics=[...])`, or in `weighted_metrics`. The sums are taken about the mean of the first batch, the
    same on all replicas of a strategy, so float32 is precise enough even where the mean is much larger than the deviation.

    Shapes:
        `y_true` and `y_pred`: `(batch, ...)`, with samples of one shape; `y_true` may lack a last axis of size 1.
        `sample_weight`: `(batch,)`, at least 0; it weights a sample in both sums and in the mean.

    Example:

    >>> metric = ExplainedVariance()
    >>> metric.update_state(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [2.0]]))
    >>> print(float(metric.result()))
    0.5
    """

    def __init__(self, name="explained_variance", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"  # Keras' callbacks read it where they monitor a metric with mode="auto"
        self._shape = None
        self.weights = add_sum(self, "weights")
        self.squares = add_sum(self, "squares")
        self.residual = add_sum(self, "residual")

    def build(self, shape):
        """Makes the variables of the shape of a sample, `shape`. Building again does nothing."""
        shape = tuple(shape)
        if None in shape:
            raise ValueError(
                "ExplainedVariance keeps a mean for each feature, and needs samples of a known shape. "
                f"Received: samples of shape {shape}."
            )
        if self._shape is None:
            self._shape = shape
            self.deviations = add_sum(self, "deviations", shape)
            # Deviations are taken from the pivot. All replicas hold the same one, which must not be added up.
            first = {"initializer": "zeros", "aggregation": "only_first_replica"}
            self.pivot = self.add_variable(shape=shape, dtype=self.deviations.dtype, name="pivot", **first)
            self.has_pivot = self.add_variable(shape=(), dtype=self.deviations.dtype, name="has_pivot", **first)
        elif shape != self._shape:
            raise ValueError(
                f"ExplainedVariance keeps a mean for each feature, here of samples of shape {self._shape}. "
                f"Received: samples of shape {shape}. Make another metric for samples of another shape."
            )

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _pair(y_true, y_pred)
        self.build(b if a is None else a for a, b in zip(y_true.shape[1:], y_pred.shape[1:], strict=True))
        weight = _weight_of_samples(sample_weight, y_true)  # (batch, 1, ...)
        self._place_pivot(y_true, weight)
        deviation = y_true - ops.cast(self.pivot, y_true.dtype)
        add_to(self.weights, ops.sum(weight))
        add_to(self.deviations, ops.sum(weight * deviation, axis=0))
        # Over samples first, because one long sum loses more precision.
        add_to(self.squares, ops.sum(ops.sum(weight * ops.square(deviation), axis=0)))
        add_to(self.residual, ops.sum(ops.sum(weight * ops.square(y_true - y_pred), axis=0)))

    def _place_pivot(self, y_true, weight):
        """Sets the pivot, once, to the mean of the first batch that has a sample with a weight."""
        # The mean as the first sample plus a mean deviation: it is exact where all samples are equal, so data without
        # variance get a variance of 0. In an empty batch both terms are 0.
        total = ops.sum(weight)
        first = ops.sum(y_true[:1], axis=0)
        mean = first + ops.divide_no_nan(ops.sum(weight * (y_true - first), axis=0), total)
        # A replica may have no sample of a batch. The others take the mean of their means.
        voters = ops.cast(total > 0, y_true.dtype)
        votes = ops.concatenate([ops.reshape(voters, (1,)), ops.reshape(voters * mean, (-1,))])
        votes = sum_over_replicas(votes)
        mean = ops.reshape(votes[1:] / ops.maximum(votes[0], 1), self._shape)
        placed, pivot = ops.convert_to_tensor(self.has_pivot), ops.convert_to_tensor(self.pivot)
        self.pivot.assign(ops.where(placed > 0, pivot, ops.cast(mean, pivot.dtype)))
        self.has_pivot.assign(ops.maximum(placed, ops.cast(votes[0] > 0, placed.dtype)))

    def result(self):
        if self._shape is None:
            return ops.zeros((), "float32")
        about_pivot = ops.sum(ops.square(self.deviations))
        variance = self.squares - ops.divide_no_nan(about_pivot, self.weights)
        none = variance <= _ROUNDING * self.squares  # false of NaN
        residual = ops.convert_to_tensor(self.residual)
        explained = 1 - residual / ops.where(none, ops.ones_like(variance), variance)
        # 1 - residual is 1 where the residual is 0, and NaN where it is NaN.
        of_constant = ops.where(residual > 0, ops.zeros_like(residual), 1 - residual)
        explained = ops.where(none, of_constant, explained)
        return ops.where(ops.equal(self.weights, 0), ops.zeros_like(explained), explained)


@keras.saving.register_keras_serializable(package="keras_sae")
class PSNR(KnownArguments, keras.metrics.Metric):
    """Peak signal-to-noise ratio of the reconstructions in decibels, averaged over samples.

    With `mse[i]` the mean squared error of sample `i` over all its entries:

        mean_i 10 * log10(max_value^2 / mse[i])

    It is infinite if a single sample is reconstructed perfectly, and 0 before the first sample. Samples of weight 0 are left
    out.

    Args:
        max_value: Float, above 0. The range of the data: 1 for images in [0, 1], 255 for images in [0, 255].

    Shapes:
        `y_true` and `y_pred`: the same, `(batch, ...)`; `y_true` may lack a last axis of size 1. `sample_weight`:
        `(batch,)`, at least 0.

    Example:

    >>> metric = PSNR()
    >>> metric.update_state(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.6, 0.4], [0.99, 0.01]]))
    >>> print(f"{float(metric.result()):.2f}")
    30.00
    """

    def __init__(self, max_value=1.0, name="psnr", dtype=None):
        max_value = check_number("max_value", max_value, "is the range of the data", above=0)
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"  # Keras' callbacks read it where they monitor a metric with mode="auto"
        self.max_value = max_value
        self.total = add_sum(self, "total")
        self.weights = add_sum(self, "weights")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _pair(y_true, y_pred)
        weight = ops.reshape(_weight_of_samples(sample_weight, y_true), (-1,))
        error = ops.mean(ops.square(y_true - y_pred), axis=tuple(range(1, len(y_true.shape))))  # (batch,)
        ratio = 20 * math.log10(self.max_value) - 10 * ops.log10(error)
        add_to(self.total, ops.sum(ops.where(weight > 0, weight * ratio, ops.zeros_like(ratio))))
        add_to(self.weights, ops.sum(weight))

    def result(self):
        return ops.divide_no_nan(self.total, self.weights)

    def get_config(self):
        return {**super().get_config(), "max_value": self.max_value}


def _pair(y_true, y_pred):
    """Target and reconstruction as tensors of one shape, in float64 where one of them is float64, else in float32."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    dtype = keras.backend.result_type(y_true.dtype, y_pred.dtype, "float32")
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    if len(shapes[0]) == len(shapes[1]) - 1 and shapes[1][-1] == 1:
        y_true = ops.expand_dims(y_true, -1)  # as Keras' losses allow
    sizes = zip(y_true.shape, y_pred.shape, strict=False)
    if len(y_true.shape) != len(y_pred.shape) or any(a != b for a, b in sizes if None not in (a, b)):
        raise ValueError(
            "A reconstruction must have the shape of its target. "
            f"Received: a target of shape {shapes[0]}, and a reconstruction of shape {shapes[1]}."
        )
    if len(y_pred.shape) < 2:
        raise ValueError(
            "A reconstruction has shape `(batch, ...)`, of at least two axes. "
            f"Received: a reconstruction of shape {shapes[1]}. Give a single feature as `y[:, None]`."
        )
    return ops.cast(y_true, dtype), ops.cast(y_pred, dtype)


def _weight_of_samples(sample_weight, y_true):
    """The weight of each sample, 1 by default, of shape `(batch, 1, ..., 1)`."""
    samples = ops.shape(y_true)[0]
    if sample_weight is None:
        weight = ops.ones((samples,), y_true.dtype)
    else:
        weight = ops.cast(ops.convert_to_tensor(sample_weight), y_true.dtype)
        if any(size not in (1, None) for size in weight.shape[1:]):
            raise ValueError(
                "`sample_weight` has one weight for each sample, not for each entry: shape `(batch,)`. "
                f"Received: sample_weight of shape {tuple(weight.shape)}."
            )
        weight = ops.broadcast_to(ops.reshape(weight, (-1,)), (samples,))
    return ops.reshape(weight, (-1,) + (1,) * (len(y_true.shape) - 1))
