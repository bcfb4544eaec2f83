import math

import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.distributed import gather_over_replicas
from keras_sae.layers._selection import Selection
from keras_sae.layers._top_k import keep, largest_of_rows, of_this_replica, rows_across

# Tolerance before `lifetime * batch` is rounded down, because 0.29 * 100 is 28.999999999999996.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_sae")
class WinnerTakeAll(Selection):
    """Keeps the winners of each unit and sets its other entries to zero.

    There are two competitions. Use either, or both:

    - `spatial`: in each unit's map, the largest entry of a sample wins, in training and at inference.
    - `lifetime`: of all entries of a unit in the batch (with `spatial`, of its spatial winners), the largest
      `max(1, floor(lifetime * count))` win, in training only. Every unit wins somewhere, so no unit dies. A batch of one
      sample keeps everything.

    With `lifetime` alone, a code passes unchanged at inference: the zeros then come from the activation before, by default
    a ReLU. The decoder has then learned from other codes than it reads. To reconstruct well, train it once more with the
    encoder frozen, as `refit_decoder` of a recipe does.

    Among equal entries the first ones win. Gradients flow through the winners only. A NaN takes no place among the winners and
    leaves the layer as NaN; see `Selection`.

    Args:
        spatial: Whether the positions of each unit's map compete. Needs codes with at least one spatial axis.
        lifetime: Float in (0, 1], the share of its entries in the batch that a unit keeps; or None for no lifetime
            competition.
        synchronized: Whether the lifetime competition spans all replicas of a `tf.distribute` strategy, as over one large
            batch. By default each replica has its own.

    Input shape:
        `(batch, ..., units)`, usually non-negative. The spatial sizes must be known.

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
        if lifetime is not None:
            meaning = "is the share of its entries in the batch that a unit keeps, or None for no competition over the batch,"
            lifetime = check_number("lifetime", lifetime, meaning, above=0, at_most=1)
        elif not spatial:
            raise ValueError(
                "WinnerTakeAll needs a competition: spatial=True, a `lifetime`, or both. "
                "Received: spatial=False, lifetime=None."
            )
        self.spatial = bool(spatial)
        self.lifetime = lifetime
        self.synchronized = bool(synchronized)

    @property
    def across(self):
        return "positions" if self.spatial else "all"

    @property
    def exact_zeros(self):
        return self.spatial

    def call(self, inputs, training=False):
        if not (self.spatial or (training and self.trainable)):
            return inputs
        return super().call(inputs, training=training)

    def select(self, inputs, scores, training):
        units = scores.shape[-1]
        candidates = None  # indices into the flattened code of those that compete in the batch, `(positions, units)`
        if self.spatial:
            maps, places = rows_across(scores, "positions")
            _, winners, _ = largest_of_rows(maps, 1)
            candidates = places(winners)  # (batch * units, 1)
            if self.lifetime is None or not training:
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

    def get_config(self):
        return {
            **super().get_config(),
            "spatial": self.spatial,
            "lifetime": self.lifetime,
            "synchronized": self.synchronized,
        }
