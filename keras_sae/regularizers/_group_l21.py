import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.distributed import gather_over_replicas
from keras_sae.regularizers._activity_penalty import ActivityPenalty, totals_of, value_or_zero
from keras_sae.regularizers._positions import in_statistics_dtype, position_count, position_weights, weighted


@keras.saving.register_keras_serializable(package="keras_sae")
class GroupL21(ActivityPenalty):
    """Charges a code for the units that each class uses, so that samples of a class share units.

    This is supervised group sparsity by the ℓ2,1 norm. With `n[c]` the number of positions of class `c` in the batch:

        penalty = weight * sum_c sum_j sqrt(sum over positions i of class c of code[i, j]^2 / n[c])

    The norm runs over the samples of a class, the sum over units and classes. A unit that a class does not use costs nothing.
    The first sample of a class that uses a unit costs most; others of its class add little. A class without samples in the
    batch adds nothing. Dividing by `n[c]` makes the penalty independent of the batch size. With sample weights, `n[c]` is their
    sum, and squares are weighted. Where a class does not use a unit, the norm has a kink and its gradient is taken as zero.
    Elsewhere no gradient exceeds `weight / sqrt(n[c])`.

    Labels are needed in training only. A `keras_sae.models.SparseAutoencoder` takes them in place of the target,
    `fit(x, labels)`, or with it, `fit(noisy, (clean, labels))`. In `evaluate` without labels the penalty is 0.

    Args:
        weight: Float, at least 0.

    Shapes:
        `(batch, ..., units)` and integer labels `(batch,)` or `(batch, 1)` to a scalar. Labels can be any integers.

    Example:

    >>> code = np.array([[3.0, 0.0], [4.0, 0.0], [0.0, 2.0]], "float32")
    >>> print(round(float(GroupL21().penalty(code, np.array([0, 0, 7]))), 4))      # sqrt((9 + 16) / 2) + 2
    5.5355

    Reference:
        Sankaran, Vatsa, Singh and Majumdar, "Group sparse autoencoder", Image and Vision Computing 60, 2017.
    """

    supervised = True

    def __init__(self, weight=1.0):
        self.weight = check_number("weight", weight, "is the factor of the penalty", at_least=0)

    def totals(self, code, labels, weights=None):
        """Sums of squares per class and unit, and the positions of each class: `(samples of the whole batch, units + 1)`.

        A class has the row of the first sample in the batch with its label.
        """
        check_labels(labels)
        if code.shape[0] == 0:
            return ops.zeros((0, code.shape[-1] + 1))
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
        everyones, _ = gather_over_replicas(labels)
        samples = ops.shape(everyones)[0]
        same = ops.equal(ops.expand_dims(labels, 1), ops.expand_dims(everyones, 0))  # (batch, samples)
        first = ops.min(ops.where(same, ops.arange(samples, dtype="int32"), samples), axis=1, initial=2**31 - 1)
        inner = tuple(range(1, len(code.shape) - 1))
        squares, positions = weighted(ops.square(code), weights), weighted(ops.ones_like(code[..., :1]), weights)
        if inner:
            squares, positions = ops.sum(squares, axis=inner), ops.sum(positions, axis=inner)  # (batch, units), (batch, 1)
        return ops.segment_sum(ops.concatenate([squares, positions], axis=1), first, samples)

    def value(self, totals, positions):
        count = totals[:, -1:]
        squares = totals[:, :-1] / ops.where(count > 0, count, ops.ones_like(count))
        unused = ops.equal(squares, 0)
        norms = ops.where(unused, ops.zeros_like(squares), ops.sqrt(ops.where(unused, ops.ones_like(squares), squares)))
        return self.weight * ops.sum(norms)

    def penalty(self, code, labels, sample_weight=None):
        """The penalty of a code: a scalar, 0 for a code without positions.

        Args:
            code: Float tensor of shape `(batch, ..., units)`. Half precision is summed in float32.
            labels: Integer tensor of shape `(batch,)` or `(batch, 1)`.
            sample_weight: None, or weights of samples `(batch,)` or of positions `(batch, ...)`.
        """
        code = in_statistics_dtype(code)
        weights = position_weights(code, sample_weight)
        return value_or_zero(self, totals_of(self, code, labels, weights), position_count(code, weights))

    def __call__(self, code):
        raise TypeError(
            "GroupL21 needs class labels, which a layer's `activity_regularizer` does not get. Use it as the `sparsity` of a "
            "keras_sae.models.SparseAutoencoder and train with fit(x, labels), or call its `penalty(code, labels)`."
        )

    def get_config(self):
        return {"weight": self.weight}


def check_labels(labels):
    """Raises ValueError unless class labels are one integer for each sample."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) > 2 or (len(labels.shape) == 2 and labels.shape[1] != 1):
        raise ValueError(
            f"Class labels are integers of shape (batch,). Received: labels of shape {tuple(labels.shape)}. Turn one-hot "
            "labels into integers by numpy.argmax(labels, axis=-1)."
        )
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if "float" in dtype:
        raise ValueError(
            f"Class labels are integers of shape (batch,). Received: labels of dtype {dtype}. If they are whole numbers, "
            'convert them by `labels.astype("int64")`.'
        )
