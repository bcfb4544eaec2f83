import math
import numbers

import keras
from keras import ops

from keras_sae.distributed import gather_over_replicas
from keras_sae.layers._selection import AnnealedK
from keras_sae.layers._top_k import keep, largest_of_many, of_this_replica


@keras.saving.register_keras_serializable(package="keras_sae")
class BatchKSparse(AnnealedK):
    """Keeps the `k` largest entries per sample on average over the batch, and sets the others to zero.

    In training all entries of the batch compete, and `k * batch` of them stay, exactly that many whatever the ties: a
    sample that needs more units takes them from one that needs fewer.

    At inference a sample must not depend on its neighbours. So the smallest entry that won is kept as a moving average,
    `threshold`, a saved weight:

        threshold = momentum * threshold + (1 - momentum) * smallest winner of the batch

    and every entry of at least `threshold` stays. That is `k` entries per sample on average for data like those of the
    training. Before the first training step `threshold` is minus infinity, and everything stays.

    The first batch sets the threshold; a batch whose smallest winner is not finite leaves it. A NaN never wins and never
    hides. `current_k`, which `keras_sae.callbacks.KSchedule` anneals, is the `k` that training uses.

    Args:
        k: Integer, at least 1 and at most the number of entries of a sample's code.
        synchronized: Whether the entries of all replicas of a `tf.distribute` strategy compete with each other, as those
            of one large batch would. By default each replica's do, and `threshold` averages over replicas.
        momentum: Float in [0, 1). How slowly `threshold` moves.

    Input shape:
        `(batch, ..., units)`, every size but the batch known. The entries of all positions of a sample count.

    Output shape:
        The same.

    Example:

    >>> layer = BatchKSparse(k=2)
    >>> code = np.array([[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]], "float32")
    >>> print(keras.ops.convert_to_numpy(layer(code, training=True)))            # 4 of 6 stay
    [[5. 4. 3.]
     [2. 0. 0.]]
    >>> print(keras.ops.convert_to_numpy(layer(np.array([[9.0, 2.0, 1.9]], "float32"))))     # at least 2.0
    [[9. 2. 0.]]

    Reference:
        Bussmann, Leask and Nanda, "BatchTopK Sparse Autoencoders", 2024, https://arxiv.org/abs/2412.06410.
    """

    # As with KSparse, the competition is the nonlinearity.
    default_activation = "linear"

    def __init__(self, k, synchronized=False, momentum=0.99, **kwargs):
        super().__init__(k, **kwargs)
        if not (isinstance(momentum, numbers.Real) and 0 <= momentum < 1):
            raise ValueError(
                "`momentum` is the weight of the past in the moving average of the threshold and must lie in [0, 1). "
                f"Received: momentum={momentum!r}."
            )
        self.synchronized = bool(synchronized)
        self.momentum = float(momentum)

    def build(self, input_shape):
        super().build(input_shape)
        self.threshold = self.add_weight(
            name="threshold",
            shape=(),
            dtype="float32",
            autocast=False,
            initializer=keras.initializers.Constant(-math.inf),
            trainable=False,
            aggregation="mean",
        )

    def call(self, inputs, training=False):
        if not training:
            # Said this way round, because a NaN is not below anything and stays.
            return ops.where(ops.cast(inputs, "float32") < self.threshold, ops.zeros_like(inputs), inputs)
        if inputs.shape[0] == 0:
            return inputs
        scores = ops.reshape(ops.stop_gradient(inputs), (-1,))
        size = ops.shape(scores)[0]
        entries, start = gather_over_replicas(scores) if self.synchronized else (scores, 0)
        samples = ops.shape(entries)[0] // self.competitors

        def select(entries, count, limit):
            if limit is None:
                indices, smallest = largest_of_many(entries, count * samples)
                wins = None
            else:
                values, indices = ops.top_k(entries, limit * samples, sorted=True)
                wins = ops.arange(limit * samples, dtype="int32") < count * samples
                smallest = ops.min(ops.where(wins, values, ops.cast(math.inf, values.dtype)))
            if self.synchronized:
                indices, wins = of_this_replica(indices, wins, start, size)
            return keep(inputs, indices, wins), ops.cast(smallest, "float32")

        selected, smallest = self.at_current_k(inputs, entries, select)
        self._move_threshold(smallest)
        return selected

    def _move_threshold(self, smallest):
        threshold = ops.convert_to_tensor(self.threshold)
        moved = self.momentum * threshold + (1 - self.momentum) * smallest
        moved = ops.where(ops.isfinite(threshold), moved, smallest)
        self.threshold.assign(ops.where(ops.isfinite(smallest), moved, threshold))

    def get_config(self):
        return {**super().get_config(), "synchronized": self.synchronized, "momentum": self.momentum}
