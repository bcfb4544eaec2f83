import keras
from keras import ops

from keras_sae.layers._dictionary import SparseInference, in_float32, largest_eigenvalue, soft_threshold


@keras.saving.register_keras_serializable(package="keras_sae")
class LISTA(SparseInference):
    """Predicts the sparse code of its input in a few learned steps of shrinkage and thresholding.

        code[1] = shrink(inputs @ filters)        code[t + 1] = shrink(inputs @ filters + code[t] @ inhibition)

    where `shrink` is the soft threshold by `thresholds`, which makes exact zeros. `filters`, `inhibition` and `thresholds`
    are learned, and shared by the steps. At first the layer equals as many steps of plain descent (ISTA) on

        mean over D entries of (inputs - kernel @ code)^2 + penalty(code)

    With `L` a bound on the largest eigenvalue of `transpose(kernel) @ kernel` and `weight` that of the penalty, this means

        filters = kernel / L       inhibition = identity - transpose(kernel) @ kernel / L       thresholds = weight * D / 2 / L

    After that the layer no longer reads the dictionary; only the decoder does.

    Args:
        units: Integer, at least 1. Width of the code.
        penalty: `keras.regularizers.L1(weight)`. For a published `1/2 |x - kernel @ a|^2 + λ |a|` the weight is `2 λ / D`.
        steps: Integer, at least 1.
        kernel_initializer: Initializer of the dictionary. Its atoms are then scaled to norm 1.

    Input shape:
        `(batch, ..., D)`.

    Output shape:
        `(batch, ..., units)`.

    Example:

    >>> layer = LISTA(2, keras.regularizers.L1(1.0), kernel_initializer="identity")
    >>> keras.ops.convert_to_numpy(layer(np.array([[3.0, 0.5]]))).round(1).tolist()
    [[2.0, 0.0]]

    Reference:
        Gregor and LeCun, "Learning Fast Approximations of Sparse Coding", ICML 2010.
    """

    def __init__(self, units, penalty, steps=5, kernel_initializer="random_normal", **kwargs):
        super().__init__(units, penalty, steps, kernel_initializer, **kwargs)
        if not self.shrinks:
            raise ValueError(
                "`penalty` must be keras.regularizers.L1(weight): LISTA learns soft thresholds, and only L1 has them. "
                f"Received: penalty={penalty!r}. Use FISTA for keras_sae.regularizers.ActivityLog."
            )

    def build(self, input_shape):
        super().build(input_shape)
        self.filters = self.add_weight(
            name="filters",
            shape=self.kernel.shape,
            initializer=lambda shape, dtype: self.kernel / largest_eigenvalue(self.kernel),
        )
        self.inhibition = self.add_weight(
            name="inhibition",
            shape=(self.units, self.units),
            initializer=lambda shape, dtype: (
                ops.eye(self.units, dtype=dtype) - ops.matmul(ops.transpose(self.kernel), self.filters)
            ),
        )
        self.thresholds = self.add_weight(
            name="thresholds",
            shape=(self.units,),
            initializer=lambda shape, dtype: self.threshold(largest_eigenvalue(self.kernel)) * ops.ones(shape, dtype),
            constraint=keras.constraints.NonNeg(),
        )

    def call(self, inputs):
        inhibition, thresholds = in_float32(self.inhibition), in_float32(self.thresholds)
        drive = ops.matmul(in_float32(inputs), in_float32(self.filters))  # (batch, ..., units)
        code = soft_threshold(drive, thresholds)
        for _ in range(self.steps - 1):
            code = soft_threshold(drive + ops.matmul(code, inhibition), thresholds)
        return ops.cast(code, self.compute_dtype)
