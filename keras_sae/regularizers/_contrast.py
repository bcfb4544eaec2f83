import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.distributed import gather_over_replicas, replica_count
from keras_sae.regularizers._activity_penalty import ActivityPenalty

_LEAST = 1e-12  # a squared norm below this is that of a silent code


@keras.saving.register_keras_serializable(package="keras_sae")
class Contrast(ActivityPenalty):
    """Drives the codes of a batch apart: each is to be more similar to itself than to the others.

        s_ij = cosine(code_i, code_j) / temperature
        penalty = weight * mean_i ( log mean_j exp(s_ij) - s_ii )

    This is the contrastive loss of each code against all codes of the batch, less the logarithm of their number. So it is 0
    where all codes are alike, negative elsewhere, and in expectation independent of the batch size. Under a `tf.distribute`
    strategy the codes of all replicas are compared. Codes with positions are compared position by position, which costs the
    square of their number.

    Args:
        weight: Float, at least 0.
        temperature: Float, above 0. At a low temperature, only the most similar codes are driven apart.

    Shapes:
        `(batch, ..., units)` to a scalar.

    Example:

    >>> code = np.array([[2.0, 0.0], [0.0, 1.0]], "float32")
    >>> print(round(float(Contrast(1.0, temperature=1.0).penalty(code)), 4))      # log((exp(1) + exp(0)) / 2) - 1
    -0.3799

    Reference:
        Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", 2025, the contrastive loss,
        there of codes that are not normalised, https://arxiv.org/abs/2503.01776.
    """

    def __init__(self, weight=0.1, temperature=0.1):
        self.weight = check_number("weight", weight, "is the factor of the penalty", at_least=0)
        self.temperature = check_number("temperature", temperature, "divides the similarities", above=0)

    def totals(self, code, weights=None):
        rows = ops.reshape(code, (-1, code.shape[-1]))
        counts = ops.ones_like(rows[:, 0]) if weights is None else ops.reshape(weights, (-1,))
        rows = rows / ops.sqrt(ops.maximum(ops.sum(ops.square(rows), axis=-1, keepdims=True), _LEAST))
        replicas = replica_count()
        if replicas == 1:
            return self._total(rows, counts)
        everyones, start = gather_over_replicas(rows)
        counts, _ = gather_over_replicas(counts)
        own = ops.shape(rows)[0]
        # Gradients reach the rows of this replica. Each replica adds its share of the value, and the whole gradient.
        total = self._total(ops.concatenate([everyones[:start], rows, everyones[start + own :]]), counts)
        return total - ops.stop_gradient(total) * (1 - 1 / replicas)

    def _total(self, rows, counts):
        """The sum over rows, weighted by `counts`."""
        similarities = ops.matmul(rows, ops.transpose(rows)) / self.temperature  # (rows, rows)
        own = ops.sum(ops.square(rows), axis=-1) / self.temperature
        shares = counts / ops.maximum(ops.sum(counts), _LEAST)
        # No similarity exceeds 1, so there is nothing to subtract before `exp` but the bound itself.
        bound = 1 / self.temperature
        means = ops.matmul(ops.exp(similarities - bound), ops.expand_dims(shares, 1))[:, 0]
        return ops.sum(counts * (ops.log(ops.maximum(means, 1e-30)) + bound - own))

    def value(self, totals, positions):
        return self.weight * totals / positions

    def get_config(self):
        return {"weight": self.weight, "temperature": self.temperature}
