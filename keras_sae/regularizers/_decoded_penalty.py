import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer, check_number
from keras_sae.regularizers._activity_penalty import penalty_name


class DecodedPenalty(KnownArguments, keras.regularizers.Regularizer):
    """Base class of penalties of what the decoder makes of a code: `AuxiliaryK`, `SeveralK`, `NestedPrefixes`, yours.

    They are parts of the objective of a `keras_sae.models.SparseAutoencoder`, given as its `sparsity` with the selection. As
    other penalties, a subclass defines sums over positions (`totals`) and their cost (`value`), so the value is that of the
    global batch on any number of replicas. It is measured in float32. Sample weights and masks weight the sums.

    `totals` gets a `decoding`, which offers:

    - `target` and `reconstruction`, tensors of shape `(batch, ...)`, in float32;
    - `of_largest(k, among=None)`: the reconstruction from the `k` entries of each position that are largest before the
      selection. `among`, booleans of shape `(units,)`, names the units that compete;
    - `of_prefix(units)`: the reconstruction from the code with only its first units;
    - `of_nothing()`: the reconstruction from a code of zeros, of batch size 1;
    - `entries`: how many entries of the target there are for each position of the code;
    - `silent`: for each unit, the number of positions since it fired last, where `counts_silence` is True;
    - `sum(values)`: the weighted sum of a value for each position of the target, all its axes but the last. Of values that
      have the last axis too, a vector.

    Attributes:
        counts_silence: Whether the penalty reads `silent`.

    Example:

    >>> class TwoLargest(DecodedPenalty):
    ...     '''Charges the squared error of the reconstruction from the two largest entries.'''
    ...
    ...     def totals(self, decoding):
    ...         errors = keras.ops.square(decoding.target - decoding.of_largest(2))
    ...         return decoding.sum(keras.ops.mean(errors, axis=-1))[None]
    ...
    ...     def value(self, totals, positions):
    ...         return totals[0] / positions
    >>> model = DenseAutoencoder(4, 16, sparsity=[KSparse(4), TwoLargest()])
    >>> model.compile("adam", "mse")
    >>> sorted(model.fit(np.random.rand(8, 4), verbose=0).history)
    ['loss', 'reconstruction_loss', 'two_largest']
    """

    counts_silence = False
    supervised = False
    momentum = None

    def totals(self, decoding):
        """Sums over the positions of a batch, a tensor of shape `(n,)`."""
        raise NotImplementedError

    def value(self, totals, positions):
        """The penalty, a scalar, from `totals` over that many `positions`."""
        raise NotImplementedError

    def check_code(self, code, selection):
        """Raises ValueError where the penalty cannot charge a code of this shape, which this selection (or None) makes."""

    def __call__(self, code):
        raise ValueError(
            f"{type(self).__name__} compares reconstructions, so it needs a decoder. Use it as the `sparsity` of a "
            f"keras_sae.models.SparseAutoencoder, not as a regularizer of a layer. Received: {penalty_name(self)!r} as one."
        )


def read_terms(name, values, weight, meaning):
    """An argument that is an integer or a list of them, and the weight of each: `([128], [0.125])`."""
    values = list(values) if isinstance(values, list | tuple) else [values]
    values = [check_integer(name, value, meaning) for value in values]
    weights = list(weight) if isinstance(weight, list | tuple) else [weight] * len(values)
    weights = [check_number("weight", each, "is the factor of a loss", at_least=0) for each in weights]
    if not values or len(weights) != len(values):
        raise ValueError(
            f"`{name}` lists at least one number, and `weight` is one number or a list of as many. Received: {name}={values}, "
            f"weight={weights}."
        )
    return values, weights


def read_loss(loss):
    """A function of target and reconstruction that gives each position its loss, the mean over the last axis."""
    found = keras.losses.get(loss)
    if isinstance(found, keras.losses.Loss):
        raise ValueError(
            '`loss` is the name of a loss in snake case, such as "mse" or "cosine_similarity", or a function of target and '
            f"reconstruction that keeps positions. Received: loss={loss!r}."
        )
    return found


class LossesPenalty(DecodedPenalty):
    """Base of penalties that are weighted sums of the losses of several reconstructions."""

    def reconstructions(self, decoding):
        """The reconstructions, as many as `weights`."""
        raise NotImplementedError

    def totals(self, decoding):
        losses = [self._loss(decoding.target, each) for each in self.reconstructions(decoding)]
        return ops.stack([weight * decoding.sum(loss) for weight, loss in zip(self._weights, losses, strict=True)])

    def value(self, totals, positions):
        return ops.sum(totals) / positions
