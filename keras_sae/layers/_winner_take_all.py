import math
import numbers

import keras
from keras import ops

from keras_sae.distributed import gather_over_replicas
from keras_sae.layers._top_k import (
    has_nan,
    keep,
    largest_of_rows,
    of_this_replica,
    rows_across,
    with_nan_of,
    without_nan,
)

# The rounding error of `lifetime * batch` that is forgiven before it is rounded down: 0.29 * 100 is 28.999999999999996.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_sae")
class WinnerTakeAll(keras.layers.Layer):
    """Keeps the winners of each unit and sets its other entries to zero.

    Two competitions, of which either or both can be asked for:

    - `spatial`: in each unit's map the largest entry of a sample wins, in training and at inference.
    - `lifetime`: of a unit's entries in the batch (of its spatial winners, where `spatial`) the largest
      `max(1, floor(lifetime * count))` win, in training only. Every unit wins somewhere, so none dies, whatever the
      rates of the others; a batch of one sample keeps everything.

    At inference a code with `lifetime` alone is left as it is: the activation of the layer before, a ReLU, then makes the
    zeros. Ties are broken by index. Gradients flow through the winners only. A NaN never wins and never hides.

    Args:
        spatial: Whether the positions of each unit's map compete. Needs codes of at least one spatial axis.
        lifetime: Float in (0, 1], the share of its entries in the batch that a unit keeps; or None, for no such
            competition.
        synchronized: Whether the lifetime competition is held over the batches of all replicas of a `tf.distribute`
            strategy together, as it would be over one large batch. By default over each replica's.

    Input shape:
        `(batch, ..., units)`, non-negative as a rule. The spatial sizes must be known.

    Output shape:
        The same.

    Example:

    >>> code = np.array([[1.0, 0.0], [3.0, 0.5], [2.0, 0.0], [0.0, 4.0]], "float32")
    >>> print(keras.ops.convert_to_numpy(WinnerTakeAll(lifetime=0.5)(code, training=True)))
    [[0.  0. ]
     [3.  0.5]
     [2.  0. ]
     [0.  4. ]]

    Reference:
        Makhzani and Frey, "Winner-Take-All Autoencoders", 2015, https://arxiv.org/abs/1409.2752.
    """

    default_activation = "relu"

    def __init__(self, spatial=False, lifetime=0.05, synchronized=False, **kwargs):
        super().__init__(**kwargs)
        if lifetime is not None and not (
            isinstance(lifetime, numbers.Real) and not isinstance(lifetime, bool) and 0 < lifetime <= 1
        ):
            raise ValueError(
                "`lifetime` is the share of its entries in the batch that a unit keeps, and must lie in (0, 1]; or None, "
                f"for no competition over the batch. Received: lifetime={lifetime!r}."
            )
        if lifetime is None and not spatial:
            raise ValueError(
                "WinnerTakeAll needs a competition: spatial=True, a `lifetime`, or both. "
                "Received: spatial=False, lifetime=None."
            )
        self.spatial = bool(spatial)
        self.lifetime = None if lifetime is None else float(lifetime)
        self.synchronized = bool(synchronized)
        self.supports_masking = True

    def build(self, input_shape):
        if len(input_shape) < 2 or None in input_shape[1:]:
            raise ValueError(
                "WinnerTakeAll must know the size of every axis but the batch: `(batch, ..., units)`. "
                f"Received: input_shape={tuple(input_shape)}."
            )
        if self.spatial and len(input_shape) < 3:
            raise ValueError(
                "spatial=True lets the positions of each unit's map compete, and this code has no maps. "
                f"Received: input_shape={tuple(input_shape)}. Use it on a convolutional code, (batch, ..., units) with "
                "spatial axes, or leave `spatial` out."
            )

    def call(self, inputs, training=False):
        lifetime = self.lifetime is not None and training
        if not (self.spatial or lifetime) or inputs.shape[0] == 0:
            return inputs
        scores = ops.stop_gradient(inputs)
        # Twice a condition, rather than one around it all: replicas must meet outside.
        doubtful = has_nan(scores)
        scores = ops.cond(doubtful, lambda: without_nan(scores), lambda: scores)
        selected = self._select(inputs, scores, lifetime)
        return ops.cond(doubtful, lambda: with_nan_of(inputs, selected), lambda: selected)

    def _select(self, inputs, scores, lifetime):
        units = scores.shape[-1]
        candidates = None  # indices into the flattened code of those that compete in the batch, `(positions, units)`
        if self.spatial:
            maps, places = rows_across(scores, "positions")
            _, winners, _ = largest_of_rows(maps, 1)
            candidates = places(winners)  # (batch * units, 1)
            if not lifetime:
                return keep(inputs, candidates)
            scores = ops.take(ops.reshape(scores, (-1,)), ops.reshape(candidates, (-1, units)))
        scores = ops.reshape(scores, (-1, units))
        rows, start = gather_over_replicas(scores) if self.synchronized else (scores, 0)
        count = self._share(ops.shape(rows)[0])
        rows, places = rows_across(rows, "batch")
        _, indices, wins = largest_of_rows(rows, count)  # (units, count)
        indices = places(indices)
        if self.synchronized:
            size = ops.shape(ops.reshape(scores, (-1,)))[0]
            indices, wins = of_this_replica(indices, wins, start * units, size)
        if candidates is not None:
            indices = ops.take(ops.reshape(candidates, (-1,)), indices)
        return keep(inputs, indices, wins)

    def _share(self, count):
        """`max(1, floor(lifetime * count))`, and 0 of nothing."""
        if isinstance(count, int):
            return min(count, max(1, math.floor(self.lifetime * count + _ROUNDING)))
        share = ops.cast(ops.floor(ops.cast(count, "float64") * self.lifetime + _ROUNDING), "int32")
        return ops.minimum(count, ops.maximum(1, share))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "spatial": self.spatial,
            "lifetime": self.lifetime,
            "synchronized": self.synchronized,
        }
