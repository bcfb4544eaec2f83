import keras
import numpy as np

from keras_sae._checks import KnownArguments


class AdaptedLayer(KnownArguments, keras.layers.Layer):
    """Base class of layers whose weights are statistics of data: `SubtractMean`, `ZCAWhitening`, `Standardize`.

    The `adapt` of a `keras_sae.models.SparseAutoencoder` adds up what `statistics` returns for each batch, over all workers,
    and then calls `learn`. No gradient changes the weights.
    """

    @property
    def is_adapted(self):
        """Whether the weights were set from data."""
        raise NotImplementedError

    def statistics(self, inputs, weights=None):
        """Sums over a batch, from which the weights follow: a list of float64 arrays, the number of rows first.

        Args:
            inputs: Array, as the layer reads it.
            weights: Array of a weight for each sample, or None. A sample counts as often as its weight says.
        """
        raise NotImplementedError

    def learn(self, sums):
        """Sets the weights from the sums over all data, a list like that of `statistics`."""
        raise NotImplementedError

    def add_statistic(self, name, shape, initializer):
        """A weight that no gradient changes and that all replicas hold alike."""
        same = {"trainable": False, "aggregation": "only_first_replica"}
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=self.autocast, **same)


def rows_of(inputs, axes, weights=None):
    """Inputs as float64 rows `(rows, *kept)` that have the last `axes` axes, and a weight for each row.

    Samples with a NaN or infinity are left out: it shall show in the loss, not stay in a statistic.
    """
    inputs = np.asarray(inputs, "float64")
    kept = inputs.shape[inputs.ndim - axes :]
    samples = inputs.reshape(len(inputs), -1, *kept)
    weights = np.ones((len(samples), 1)) if weights is None else np.asarray(weights, "float64").reshape(len(samples), -1)
    weights = weights.mean(axis=1)
    finite = np.isfinite(samples).all(axis=tuple(range(1, samples.ndim)))
    if not finite.all():
        samples, weights = samples[finite], weights[finite]
    return samples.reshape(-1, *kept), np.repeat(weights, samples.shape[1])


class CovarianceLayer(AdaptedLayer):
    """An adapted layer that learns from the mean and the covariance of the last axis, and keeps shapes."""

    def statistics(self, inputs, weights=None):
        rows, weights = rows_of(inputs, 1, weights)
        return [weights.sum(), weights @ rows, rows.T @ (rows * weights[:, None])]

    def compute_output_shape(self, input_shape):
        return input_shape


def principal_axes(sums):
    """The mean, the variances along the eigenvectors of the covariance, largest first, and these as columns."""
    count, total, products = sums
    mean = total / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    return mean, variances[::-1].clip(0), axes[:, ::-1]


def check_per(per, choices):
    """Raises ValueError unless `per` is one of the choices."""
    if per not in choices:
        *most, last = (f'"{choice}"' for choice in choices)
        raise ValueError(
            f"`per` says what has statistics of its own and must be {', '.join(most)} or {last}. Received: per={per!r}."
        )


def statistics_shape(layer, per, input_shape):
    """The shape of what has statistics of its own. Raises ValueError where a size is not known."""
    shape = {"entry": tuple(input_shape[1:]), "channel": (input_shape[-1],), "all": ()}[per]
    if None in shape:
        raise ValueError(
            f"With per={per!r}, {type(layer).__name__} must know {'every size' if per == 'entry' else 'the last size'} of "
            f'its input. Received: input_shape={tuple(input_shape)}. Give the sizes, or use per="channel".'
        )
    return shape
