import math

import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.layers._selection import KSelection
from keras_sae.layers._top_k import from_rows, keep, largest_of_rows, rows_across
from keras_sae.ops import are_largest

# Tolerance before `alpha * k` is rounded up, because 1.1 * 10 is 11.000000000000002.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_sae")
class KSparse(KSelection):
    """Keeps the `k` largest entries of each code and sets the others to zero.

    This is the selection of the k-sparse autoencoder. Units compete, exactly `k` of them win, and gradients flow through
    the winners only. Among equal entries the first ones win (on PyTorch, those that its top-k returns), so a row of equal
    entries keeps exactly `k` too.

    In training the layer keeps `current_k` entries. This saved weight starts at `k`, and `keras_sae.callbacks.KSchedule`
    anneals it. At inference the layer keeps `ceil(alpha * k)` entries, or all where there are fewer: the paper encodes with
    more units than it trains with, which helps a classifier on top.

    A NaN takes no place among the `k` and leaves the layer as NaN; see `Selection`. Infinities compete like numbers.

    Models use a linear activation before this layer by default, because the paper selects among `W x + b`.

    Args:
        k: Integer, at least 1 and at most the number of entries that compete. Entries kept in training.
        alpha: Float, at least 1. Entries kept at inference, as a multiple of `k`.
        select_by: `"value"` keeps the largest signed entries, as in the paper; `"magnitude"` those largest in absolute
            value.
        across: The entries that compete where a code has several positions, as convolutional codes do. `"units"`: at each
            position, `k` units stay. `"positions"`: in each unit's map, `k` positions stay. `"all"`: of the whole code of a
            sample, `k` entries stay.

    Input shape:
        `(batch, ..., units)`. The sizes of the axes along which entries compete must be known.

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
    >>> maps = np.array([[[1.0, 8.0], [3.0, 5.0], [2.0, 9.0]]], "float32")       # a sample of 3 positions and 2 units
    >>> print(keras.ops.convert_to_numpy(KSparse(k=1, across="positions")(maps)))
    [[[0. 0.]
      [3. 0.]
      [0. 9.]]]

    Reference:
        Makhzani and Frey, "k-Sparse Autoencoders", 2013, https://arxiv.org/abs/1312.5663.
    """

    def __init__(self, k, alpha=1.0, select_by="value", across="units", **kwargs):
        super().__init__(k, **kwargs)
        self.alpha = check_number("alpha", alpha, "is the number of entries kept at inference divided by `k`", at_least=1)
        if select_by not in ("value", "magnitude"):
            raise ValueError(f'`select_by` must be "value" or "magnitude". Received: select_by={select_by!r}.')
        if across not in ("units", "positions", "all"):
            raise ValueError(
                '`across` says which entries of a sample compete and must be "units" (those of each position), "positions" '
                f'(those of each unit) or "all". Received: across={across!r}.'
            )
        self.select_by = select_by
        self.across = across

    @property
    def kept(self):
        """The number of competing entries that stay at inference."""
        return min(math.ceil(self.alpha * self.k - _ROUNDING), self.competitors)

    def score(self, inputs):
        return ops.abs(inputs) if self.select_by == "magnitude" else inputs

    def select(self, inputs, scores, training):
        if self.in_one_graph:
            rows, _ = rows_across(scores, self.across)
            count, usual = (ops.convert_to_tensor(self.current_k), self.k) if training else (self.kept, self.kept)
            wins, _ = are_largest(rows, count, usual)
            return ops.where(from_rows(wins, self.across, ops.shape(inputs)), inputs, ops.zeros_like(inputs))

        def largest(count, limit=None):
            return self.largest(inputs, scores, count, limit)

        return self.at_current_k(largest) if training else largest(self.kept)

    def largest(self, inputs, scores, count, limit=None):
        """The code with the `count` largest of each row alone; see `KSelection.at_current_k` for `limit`."""
        rows, places = rows_across(scores, self.across)
        values, indices, wins = largest_of_rows(rows, count, limit)
        return keep(inputs, places(indices), wins, values if self.select_by == "value" else None)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "select_by": self.select_by, "across": self.across}
