import math
import numbers

import keras
from keras import ops

from keras_sae.layers._selection import AnnealedK
from keras_sae.layers._top_k import has_nan, keep, largest_of_rows, rows_across, with_nan_of, without_nan

# The rounding error of `alpha * k` that is forgiven before it is rounded up: 1.1 * 10 is 11.000000000000002.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable(package="keras_sae")
class KSparse(AnnealedK):
    """Keeps the `k` largest entries of each code and sets the others to zero.

    The selection of the k-sparse autoencoder: units compete, exactly `k` of them win, and gradients flow through the
    winners only. Ties are broken by place (on PyTorch, as its top-k breaks them), so a row of equal entries keeps exactly
    `k` of them too.

    In training it keeps `current_k` entries, a saved weight that starts at `k` and that
    `keras_sae.callbacks.KSchedule` anneals. At inference it always keeps `ceil(alpha * k)` entries, or as many as there
    are: the paper encodes with more units than it trains with, which helps a classifier on top.

    A NaN never wins and never hides: it takes no place among the `k`, and leaves the layer as NaN, so that the loss
    becomes NaN and `keras.callbacks.TerminateOnNaN` ends the run. Infinities compete as numbers do.

    Args:
        k: Integer, at least 1 and at most the number of entries that compete. Entries kept in training.
        alpha: Float, at least 1. Entries kept at inference, as a multiple of `k`.
        select_by: `"value"` keeps the largest signed entries, as in the paper; `"magnitude"` those largest in absolute
            value.
        across: Which entries compete, where a code has several positions, as convolutional codes have. `"units"`: at each
            position its units do, and `k` of them stay. `"positions"`: in each unit's map its positions do, and `k`
            positions stay. `"all"`: all entries of a sample do, and `k` stay of the whole code.

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

    # The paper selects among the linear activations Wx + b. Models take this where they are given no activation.
    default_activation = "linear"

    def __init__(self, k, alpha=1.0, select_by="value", across="units", **kwargs):
        super().__init__(k, **kwargs)
        if not (isinstance(alpha, numbers.Real) and math.isfinite(alpha) and alpha >= 1):
            raise ValueError(
                "`alpha` is the number of units kept at inference divided by `k`, and must be at least 1. "
                f"Received: alpha={alpha!r}."
            )
        if select_by not in ("value", "magnitude"):
            raise ValueError(f'`select_by` must be "value" or "magnitude". Received: select_by={select_by!r}.')
        if across not in ("units", "positions", "all"):
            raise ValueError(
                '`across` says which entries of a sample compete and must be "units" (those of each position), "positions" '
                f'(those of each unit) or "all". Received: across={across!r}.'
            )
        self.alpha = float(alpha)
        self.select_by = select_by
        self.across = across

    def call(self, inputs, training=False):
        if inputs.shape[0] == 0:
            return inputs

        def select(scores, count, limit=None):
            rows, places = rows_across(scores, self.across)
            values, indices, wins = largest_of_rows(rows, count, limit)
            # By magnitude, or where a NaN was set aside, scores are not the entries themselves.
            entries = values if scores is inputs_alone else None
            return (keep(inputs, places(indices), wins, entries),)

        inputs_alone = ops.stop_gradient(inputs)
        scores = ops.abs(inputs_alone) if self.select_by == "magnitude" else inputs_alone
        if training:
            return self.at_current_k(inputs, scores, select)[0]
        return ops.cond(
            has_nan(scores),
            lambda: with_nan_of(inputs, select(without_nan(scores), self.kept)[0]),
            lambda: select(scores, self.kept)[0],
        )

    @property
    def kept(self):
        """How many of the entries that compete are kept at inference."""
        return min(math.ceil(self.alpha * self.k - _ROUNDING), self.competitors)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "select_by": self.select_by, "across": self.across}
