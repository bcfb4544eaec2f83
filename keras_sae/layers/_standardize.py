import keras
import numpy as np
from keras import ops

from keras_sae.layers._adapted import AdaptedLayer, check_per, rows_of, statistics_shape

PER = ("entry", "channel", "all")


@keras.saving.register_keras_serializable(package="keras_sae")
class Standardize(AdaptedLayer):
    """Divides by the standard deviation of the data, and subtracts its mean. For the `features` of an autoencoder.

        outputs = (inputs - mean) / deviation

    `mean` and `deviation` are saved weights that no gradient changes. They are 0 and 1 until the `adapt` of a
    `keras_sae.models.SparseAutoencoder` sets them, from all data, in float64. What is constant is not divided.

    Args:
        per: `"entry"` for statistics of each entry, `"channel"` for those of each index of the last axis, `"all"` for one
            number for all entries: it changes only the scale.
        center: Whether to subtract the mean. Without it, zeros stay zero.

    Input shape:
        `(batch, ...)`. With `"entry"`, all sizes but the batch must be known.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> layer = Standardize(center=False)
    >>> layer.build((None, 2))
    >>> layer.learn(layer.statistics(np.array([[0.0, 3.0], [4.0, 9.0]])))       # deviations 2 and 3
    >>> keras.ops.convert_to_numpy(layer(np.array([[4.0, 9.0]]))).tolist()
    [[2.0, 3.0]]
    """

    def __init__(self, per="entry", center=True, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        check_per(per, PER)
        self.per = per
        self.center = bool(center)
        self.supports_masking = True

    def build(self, input_shape):
        shape = statistics_shape(self, self.per, input_shape)
        self.mean = self.add_statistic("mean", shape, "zeros") if self.center else None
        self.deviation = self.add_statistic("deviation", shape, "ones")

    @property
    def is_adapted(self):
        learned = [] if self.mean is None else [ops.convert_to_numpy(self.mean) != 0]
        return any(np.any(each) for each in [*learned, ops.convert_to_numpy(self.deviation) != 1])

    def statistics(self, inputs, weights=None):
        rows, weights = rows_of(inputs, len(self.deviation.shape), weights)
        return [weights.sum(), np.tensordot(weights, rows, axes=1), np.tensordot(weights, np.square(rows), axes=1)]

    def learn(self, sums):
        count, total, squares = sums
        mean = total / count
        variance = squares / count - np.square(mean)
        # Sums of squares leave a rest of this size where nothing varies.
        constant = variance <= 1e-12 * np.square(mean)
        if self.mean is not None:
            self.mean.assign(mean)
        self.deviation.assign(np.where(constant, 1, np.sqrt(np.maximum(variance, 0))))

    def call(self, inputs):
        outputs = ops.cast(inputs, self.deviation.dtype)
        if self.mean is not None:
            outputs = outputs - self.mean
        return ops.cast(outputs / self.deviation, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "per": self.per, "center": self.center}
