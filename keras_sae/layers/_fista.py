import keras
from keras import ops

from keras_sae.layers._dictionary import SparseInference, in_float32, largest_eigenvalue, soft_threshold


@keras.saving.register_keras_serializable(package="keras_sae")
class FISTA(SparseInference):
    """Infers the sparse code of its input in a dictionary, by accelerated proximal gradient descent.

        code = argmin over a of  mean over D entries of (inputs - kernel @ a)^2 + penalty(a)

    It starts from zero and takes a fixed number of steps. With `L` the Lipschitz constant of the slope, a step is

        a[t + 1] = shrink(p[t] - slope(p[t]) / L)       p[t + 1] = a[t + 1] + momentum * (a[t + 1] - a[t])

    For an L1 penalty, `shrink` is its soft threshold, which makes exact zeros. For a smooth penalty, `shrink` does nothing and
    `slope` includes the penalty. The momentum of a sample restarts when it leads uphill. Every call computes an upper bound
    of `L` from the dictionary, so the steps converge for every dictionary.

    No gradient flows through the code, neither to the input nor to the dictionary. The dictionary is learned through the
    decoder, alternating with the inference (`keras_sae.models.SparseCodingAutoencoder`).

    Args:
        units: Integer, at least 1. Width of the code.
        penalty: `keras.regularizers.L1(weight)` or `keras_sae.regularizers.ActivityLog(weight)`. For a published
            `1/2 |x - kernel @ a|^2 + λ S(a)` the weight is `2 λ / D`.
        steps: Integer, at least 1.
        kernel_initializer: Initializer of the dictionary. Its atoms are then scaled to norm 1.

    Input shape:
        `(batch, ..., D)`.

    Output shape:
        `(batch, ..., units)`.

    Example:

    >>> layer = FISTA(2, keras.regularizers.L1(1.0), kernel_initializer="identity")       # λ = 1: 3 shrinks to 2, 1/2 to 0
    >>> keras.ops.convert_to_numpy(layer(np.array([[3.0, 0.5]]))).round(4).tolist()
    [[2.0, 0.0]]

    References:
        Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", SIAM J. Imaging
        Sciences 2, 2009. O'Donoghue and Candès, "Adaptive Restart for Accelerated Gradient Schemes", 2012.
    """

    def __init__(self, units, penalty, steps=50, kernel_initializer="random_normal", **kwargs):
        super().__init__(units, penalty, steps, kernel_initializer, **kwargs)
        if not (self.shrinks or hasattr(self.penalty, "slope")):
            raise ValueError(
                "`penalty` is the cost of an entry of the code: |a|, given by keras.regularizers.L1(weight), or log(1 + a^2), "
                f"given by keras_sae.regularizers.ActivityLog(weight). Received: penalty={penalty!r}."
            )

    def call(self, inputs):
        kernel = ops.stop_gradient(in_float32(self.kernel))
        atoms = ops.transpose(kernel)
        inputs = ops.stop_gradient(in_float32(inputs))
        scale = inputs.shape[-1] / 2
        steepness = largest_eigenvalue(kernel) + (0 if self.shrinks else scale * self.penalty.curvature)

        def descend(point):
            slope = ops.matmul(ops.matmul(point, atoms) - inputs, kernel)  # (batch, ..., units)
            if self.shrinks:
                return soft_threshold(point - slope / steepness, self.threshold(steepness))
            return point - (slope + scale * self.penalty.slope(point)) / steepness

        def step(_, state):
            code, point, age = state
            moved = descend(point)
            uphill = ops.sum((point - moved) * (moved - code), axis=-1, keepdims=True) > 0  # (batch, ..., 1)
            older = (1 + ops.sqrt(1 + 4 * ops.square(age))) / 2
            momentum = ops.where(uphill, 0.0, (age - 1) / older)
            return moved, moved + momentum * (moved - code), ops.where(uphill, 1.0, older)

        start = ops.zeros_like(ops.matmul(inputs, kernel))
        code, _, _ = ops.fori_loop(0, self.steps, step, (start, start, ops.ones_like(inputs[..., :1])))
        return ops.cast(code, self.compute_dtype)
