import keras
import numpy as np
from keras import ops

from keras_sae._checks import check_number
from keras_sae.layers._adapted import CovarianceLayer, principal_axes


@keras.saving.register_keras_serializable(package="keras_sae")
class ZCAWhitening(CovarianceLayer):
    """Removes the correlations between the entries of a patch, and changes it as little as possible.

        outputs = (inputs - mean) @ matrix
        matrix = U diag(1 / sqrt(s + epsilon)) U^T        where the covariance of the data is U diag(s) U^T

    It treats the last axis as a patch: that of `Patches`, or a flattened image. `mean` and `matrix` are saved weights that no
    gradient changes. They are 0 and the identity until the `adapt` or the `fit` of a `keras_sae.models.SparseAutoencoder`
    whose encoder has this layer sets them, from all patches of the data, in float64.

    Args:
        epsilon: Float above 0. Directions with less variance than this stay small. For patches after a
            `ContrastNormalization`, from 0.001 to 0.1.

    Input shape:
        `(batch, ..., entries)`. The last size must be known. Memory grows with its square.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> layer = ZCAWhitening(epsilon=3.0)
    >>> layer.build((None, 1))
    >>> layer.learn(layer.statistics(np.array([[0.0], [2.0]])))                 # mean 1, variance 1
    >>> keras.ops.convert_to_numpy(layer(np.array([[5.0]]))).tolist()
    [[2.0]]

    References:
        Bell and Sejnowski, "The 'Independent Components' of Natural Scenes are Edge Filters", 1997. Coates, Ng and Lee, "An
        Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011.
    """

    def __init__(self, epsilon=0.1, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.epsilon = check_number("epsilon", epsilon, "is added to the variances", above=0)
        self.supports_masking = True

    def build(self, input_shape):
        entries = input_shape[-1]
        if entries is None:
            raise ValueError(f"ZCAWhitening must know the last size. Received: input_shape={tuple(input_shape)}.")
        self.mean = self.add_statistic("mean", (entries,), "zeros")
        self.matrix = self.add_statistic("matrix", (entries, entries), "identity")

    @property
    def is_adapted(self):
        matrix = ops.convert_to_numpy(self.matrix)
        return bool((matrix != np.eye(len(matrix))).any())

    def learn(self, sums):
        mean, variances, axes = principal_axes(sums)
        self.mean.assign(mean)
        self.matrix.assign(axes / np.sqrt(variances + self.epsilon) @ axes.T)

    def call(self, inputs):
        inputs = ops.cast(inputs, self.mean.dtype)
        return ops.cast(ops.matmul(inputs - self.mean, self.matrix), self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
