import math
import numbers

import keras
from keras import ops

# The rounding error of `alpha * k` that is forgiven before it is rounded up: 1.1 * 10 is 11.000000000000002.
_ROUNDING = 1e-6


def mask_of_largest(scores, count, limit=None):
    """Marks the `count` largest entries along the last axis, exactly that many whatever the ties.

    Args:
        scores: Float tensor of shape `(..., units)`, units at least 1. NaN counts as the smallest value.
        count: Integer, or a scalar integer tensor of at most `limit`.
        limit: Integer, at most `units`. What `count` can be at most; by default `count`, which then is no tensor.

    Returns:
        Boolean tensor of the shape of `scores`. Equal scores are told apart by index.
    """
    units = scores.shape[-1]
    fixed = limit is None
    limit = count if fixed else limit
    flat = ops.reshape(ops.stop_gradient(scores), (-1, units))  # (rows, units)
    flat = ops.where(ops.isnan(flat), ops.cast(float("-inf"), flat.dtype), flat)
    _, indices = ops.top_k(flat, limit, sorted=not fixed)  # (rows, limit), by falling score unless `fixed`
    rows = ops.broadcast_to(ops.expand_dims(ops.arange(ops.shape(flat)[0], dtype="int32"), 1), ops.shape(indices))
    where = ops.reshape(ops.stack([rows, ops.cast(indices, "int32")], axis=-1), (-1, 2))  # (rows * limit, 2)
    chosen = ops.ones_like(indices) if fixed else ops.cast(ops.arange(limit, dtype="int32") < count, indices.dtype)
    chosen = ops.reshape(ops.broadcast_to(chosen, ops.shape(indices)), (-1,))
    marks = ops.scatter(where, chosen, ops.shape(flat))
    return ops.reshape(marks > 0, ops.shape(scores))


@keras.saving.register_keras_serializable(package="keras_sae")
class KSparse(keras.layers.Layer):
    """Keeps the `k` largest entries of each code and sets the others to zero.

    The selection of the k-sparse autoencoder: units compete, exactly `k` of them win, and gradients flow through the
    winners only. Ties are broken by index (TensorFlow and JAX keep the lowest), so a row of equal entries keeps exactly
    `k` of them too.

    In training it keeps `current_k` entries, a saved weight that starts at `k` and that
    `keras_sae.callbacks.KSchedule` anneals. At inference it always keeps `min(ceil(alpha * k), units)` entries: the
    paper encodes with more units than it trains with, which helps a classifier on top.

    A NaN never wins and never hides: it takes no place among the `k`, and leaves the layer as NaN, so that the loss
    becomes NaN and `keras.callbacks.TerminateOnNaN` ends the run.

    Args:
        k: Integer, at least 1 and at most the number of units. Entries kept in training.
        alpha: Float, at least 1. Entries kept at inference, as a multiple of `k`.
        select_by: `"value"` keeps the largest signed entries, as in the paper; `"magnitude"` those largest in absolute
            value.

    Input shape:
        `(..., units)`, of any rank from 2 on: every position selects among its own units.

    Output shape:
        The same.

    Example:

    >>> layer = KSparse(k=2)
    >>> code = np.array([[0.5, -3.0, 2.0, 1.0], [7.0, 7.0, 7.0, 7.0]], "float32")
    >>> print(keras.ops.convert_to_numpy(layer(code)))
    [[0. 0. 2. 1.]
     [7. 7. 0. 0.]]
    >>> print(keras.ops.convert_to_numpy(KSparse(k=2, select_by="magnitude")(code[:1])))
    [[ 0. -3.  2.  0.]]

    Reference:
        Makhzani and Frey, "k-Sparse Autoencoders", 2013, https://arxiv.org/abs/1312.5663.
    """

    # The paper selects among the linear activations Wx + b. Models take this where they are given no activation.
    default_activation = "linear"

    def __init__(self, k, alpha=1.0, select_by="value", **kwargs):
        super().__init__(**kwargs)
        if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
            raise ValueError(f"`k` counts the units kept active and must be an integer of at least 1. Received: k={k!r}.")
        if not (isinstance(alpha, numbers.Real) and math.isfinite(alpha) and alpha >= 1):
            raise ValueError(
                "`alpha` is the number of units kept at inference divided by `k`, and must be at least 1. "
                f"Received: alpha={alpha!r}."
            )
        if select_by not in ("value", "magnitude"):
            raise ValueError(f'`select_by` must be "value" or "magnitude". Received: select_by={select_by!r}.')
        self.k = int(k)
        self.alpha = float(alpha)
        self.select_by = select_by
        self.supports_masking = True

    def build(self, input_shape):
        units = input_shape[-1]
        if len(input_shape) < 2 or units is None:
            raise ValueError(
                "KSparse selects among the units of a code, its last axis, whose size must be known: `(batch, ..., "
                f"units)`. Received: input_shape={tuple(input_shape)}."
            )
        if self.k > units:
            raise ValueError(
                "`k` counts the units kept active and cannot exceed the width of the code, the last axis. "
                f"Received: k={self.k}, units={units}, input_shape={tuple(input_shape)}. Lower `k`, or give the model "
                f"at least {self.k} code units."
            )
        self.units = units
        self.current_k = self.add_weight(
            name="current_k",
            shape=(),
            dtype="int32",
            initializer=keras.initializers.Constant(self.k),
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs, training=False):
        scores = ops.abs(inputs) if self.select_by == "magnitude" else inputs
        if not training:
            kept = mask_of_largest(scores, min(math.ceil(self.alpha * self.k - _ROUNDING), self.units))
        else:
            kept = self._training_mask(scores)
        return ops.where(ops.logical_or(kept, ops.isnan(inputs)), inputs, ops.zeros_like(inputs))

    def _training_mask(self, scores):
        # The width of a top-k is part of a compiled graph, and a wide one is slow. So: the width wanted in the end, a
        # few times that for annealing, and the whole code for whatever `current_k` was set to by hand.
        widths = sorted({min(width, self.units) for width in (self.k, 4 * self.k, self.units)})
        current = ops.convert_to_tensor(self.current_k)
        branches = [lambda: mask_of_largest(scores, self.k)]
        branches += [lambda width=width: mask_of_largest(scores, current, limit=width) for width in widths]
        wide_enough = 1 + sum(ops.cast(current > width, "int32") for width in widths[:-1])
        return ops.switch(ops.where(current == self.k, 0, wide_enough), branches)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "k": self.k, "alpha": self.alpha, "select_by": self.select_by}
