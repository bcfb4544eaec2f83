import keras
import numpy as np
from keras import ops

from keras_sae._checks import check_integer
from keras_sae.layers._adapted import CovarianceLayer, principal_axes


@keras.saving.register_keras_serializable(package="keras_sae")
class PartialWhitening(CovarianceLayer):
    """Shrinks the `rank` directions of largest variance to the variance of the next one. For the `features` of an autoencoder.

        centred = inputs - mean
        outputs = centred - (centred @ axes * (1 - sqrt(s[rank] / s[:rank]))) @ axes^T

    where `s` are the eigenvalues of the covariance of the data, largest first, and `axes` the eigenvectors of the first `rank`.

    Responses of many units rise and fall together, with the contrast of an image for example. A few directions then hold most
    of the variance, and a linear classifier takes hundreds of iterations to find what lies in the others. After this layer it
    takes tens. Unlike `ZCAWhitening`, memory grows with `rank * units`, and directions of little variance are not enlarged.

    It treats the last axis as a vector, with the same statistics at every position. `mean`, `axes` and `shares` are saved
    weights that no gradient changes. Nothing changes until the `adapt` of a `keras_sae.models.SparseAutoencoder` sets them.

    Args:
        rank: Integer, at least 1 and below the number of units.

    Input shape:
        `(batch, ..., units)`. The last size must be known.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> layer = PartialWhitening(rank=1)
    >>> layer.build((None, 2))
    >>> layer.learn(layer.statistics(np.array([[4.0, 1.0], [4.0, -1.0], [-4.0, 1.0], [-4.0, -1.0]])))    # variances 16 and 1
    >>> keras.ops.convert_to_numpy(layer(np.array([[4.0, 1.0]]))).round(4).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, rank, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.rank = check_integer("rank", rank, "counts the directions that are shrunk")
        self.supports_masking = True

    def build(self, input_shape):
        units = input_shape[-1]
        if units is None or self.rank >= units:
            raise ValueError(
                "`rank` counts the directions that are shrunk to the variance of the next one: it must be below the number of "
                f"units, the last axis. Received: rank={self.rank}, input_shape={tuple(input_shape)}."
            )
        self.mean = self.add_statistic("mean", (units,), "zeros")
        self.axes = self.add_statistic("axes", (units, self.rank), "zeros")
        self.shares = self.add_statistic("shares", (self.rank,), "zeros")

    @property
    def is_adapted(self):
        return bool((ops.convert_to_numpy(self.axes) != 0).any())

    def learn(self, sums):
        mean, variances, axes = principal_axes(sums)
        largest, following = variances[: self.rank], variances[self.rank]
        self.mean.assign(mean)
        self.axes.assign(axes[:, : self.rank])
        self.shares.assign(1 - np.sqrt(following / np.where(largest > 0, largest, 1)))

    def call(self, inputs):
        centred = ops.cast(inputs, self.mean.dtype) - self.mean
        along = ops.matmul(centred, self.axes) * self.shares  # (batch, ..., rank)
        return ops.cast(centred - ops.matmul(along, ops.transpose(self.axes)), self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}
