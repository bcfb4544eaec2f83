"""Regularizers of Keras and of users as penalties of a code: sums over its positions, or means."""

import keras
import numpy as np
from keras import ops

from keras_sae.distributed import gather_over_replicas, replica_count
from keras_sae.regularizers._activity_penalty import ActivityPenalty, penalty_name
from keras_sae.regularizers._decoded_penalty import DecodedPenalty
from keras_sae.regularizers._positions import weighted

# Keras' own sums. Their formulas are known, so that positions can have weights.
_SUMS_OF_KERAS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


def as_penalty(regularizer, shape):
    """What charges a code of this shape, `(batch, ..., units)`: the regularizer itself if it is a penalty of this package."""
    if isinstance(regularizer, ActivityPenalty | DecodedPenalty):
        return regularizer
    if type(regularizer) in _SUMS_OF_KERAS:
        return _WeightedSum(regularizer)
    return {"sum": _Sum, "mean": _Mean}[_reduction(regularizer, shape)](regularizer)


class _Sum(ActivityPenalty):
    """A regularizer that is a sum over positions. The penalty is divided by their number."""

    def __init__(self, regularizer):
        self.regularizer = regularizer
        self.name = penalty_name(regularizer)

    def totals(self, code):
        return self.regularizer(code)

    def value(self, totals, positions):
        return totals / positions


class _WeightedSum(_Sum):
    """L1, L2 or both of Keras."""

    def totals(self, code, weights=None):
        if weights is None:
            return self.regularizer(code)
        factors = self.regularizer.get_config()
        l1, l2 = factors.get("l1", 0.0), factors.get("l2", 0.0)
        return ops.sum(weighted(l1 * ops.abs(code) + l2 * ops.square(code), weights))


class _Mean(_Sum):
    """A regularizer that does not grow with the number of positions. The penalty is its value for the global batch."""

    def totals(self, code):
        replicas = replica_count()
        if replicas == 1:
            return self.regularizer(code)
        everyones, start = gather_over_replicas(code)
        own = ops.shape(code)[0]
        # Gradients reach the rows of this replica. Each replica adds its share of the value, and the whole gradient.
        value = self.regularizer(ops.concatenate([everyones[:start], code, everyones[start + own :]]))
        return value - ops.stop_gradient(value) * (1 - 1 / replicas)

    def value(self, totals, positions):
        return totals


def _reduction(regularizer, shape):
    """Whether a regularizer is a sum over positions or a mean: by its attribute `reduction`, or else by what it computes."""
    said = getattr(regularizer, "reduction", None)
    if said in ("sum", "mean"):
        return said
    random = np.random.default_rng(0)
    found = []
    for _ in range(2):
        # Values that any activation can give: rates in (0, 1).
        code = random.uniform(0.1, 0.9, size=(3, *(size or 2 for size in shape[1:]))).astype("float32")
        once, twice = (float(regularizer(ops.convert_to_tensor(each))) for each in (code, np.concatenate([code, code])))
        found += [name for name, expected in (("sum", 2 * once), ("mean", once)) if np.isclose(twice, expected, rtol=1e-3)]
    if found in (["sum"] * 2, ["mean"] * 2):
        return found[0]
    raise ValueError(
        "A regularizer as `sparsity` is a sum over the positions of a code, which doubles if each occurs twice, or a mean, "
        f"which stays. Received: {penalty_name(regularizer)!r}, whose value for a code of shape {code.shape} is {once:g}, and "
        f'{twice:g} if each position occurs twice. Give it an attribute `reduction`: "sum", so that the model divides it by '
        'the number of positions, or "mean", so that it is taken as it is. '
        f"Received: reduction={said!r}."
    )
