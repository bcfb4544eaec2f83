import math

import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.distributed import gather_over_replicas
from keras_sae.layers._selection import KSelection
from keras_sae.layers._top_k import keep, of_this_replica
from keras_sae.ops import are_largest, largest_of_many


@keras.saving.register_keras_serializable(package="keras_sae")
class BatchKSparse(KSelection):
    """Keeps the `k` largest entries per sample, on average over the batch, and sets the others to zero.

    In training all entries of the batch compete, and exactly `k * batch` of them stay, ties included. A sample that needs
    more units takes them from one that needs fewer.

    At inference a sample must not depend on the other samples of the batch. So training keeps a moving average of the
    smallest winner, the saved weight `threshold`:

        threshold = momentum * threshold + (1 - momentum) * smallest winner of the batch

    At inference every entry of at least `threshold` stays: `k` per sample on average, for data like the training data.
    Before the first training step `threshold` is minus infinity, and everything stays. The first batch sets it; a batch
    whose smallest winner is not finite leaves it unchanged.

    In training `k` is the saved weight `current_k`, which `keras_sae.callbacks.KSchedule` anneals. A NaN takes no place
    among the winners and leaves the layer as NaN; see `Selection`. As for `KSparse`, the default activation is linear.

    Args:
        k: Integer, at least 1 and at most the number of entries of a sample's code.
        synchronized: Whether the replicas of a `tf.distribute` strategy select from one common batch. By default each
            replica selects from its own, and `threshold` is averaged over replicas.
        momentum: Float in [0, 1). The weight of the past in `threshold`.

    Input shape:
        `(batch, ..., units)`. Every size but the batch must be known. The entries of all positions of a sample count.

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

    across = "all"

    def __init__(self, k, synchronized=False, momentum=0.99, **kwargs):
        super().__init__(k, **kwargs)
        self.synchronized = bool(synchronized)
        self.momentum = check_number("momentum", momentum, "is the weight of the past in `threshold`", at_least=0, below=1)

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

    def select(self, inputs, scores, training):
        if not training:
            return ops.where(ops.cast(scores, "float32") < self.threshold, ops.zeros_like(inputs), inputs)
        selected, smallest = self.select_of_batch(inputs, scores)
        self.move_threshold(smallest)
        return selected

    def select_of_batch(self, inputs, scores):
        """The code with the winners of the batch alone, and the smallest of them, float32. Changes no state."""
        scores = ops.reshape(scores, (-1,))
        size = ops.shape(scores)[0]
        entries, start = gather_over_replicas(scores) if self.synchronized else (scores, 0)
        samples = ops.shape(entries)[0] // self.competitors
        if self.in_one_graph:
            wins, smallest = are_largest(ops.expand_dims(entries, 0), ops.convert_to_tensor(self.current_k) * samples)
            wins = ops.reshape(wins[0, start : start + size], ops.shape(inputs))
            return ops.where(wins, inputs, ops.zeros_like(inputs)), ops.cast(smallest[0, 0], "float32")

        def largest(count, limit):
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

        return self.at_current_k(largest)

    def move_threshold(self, smallest):
        """Moves the running mean `threshold` by the smallest winner of a batch."""
        threshold = ops.convert_to_tensor(self.threshold)
        moved = self.momentum * threshold + (1 - self.momentum) * smallest
        moved = ops.where(ops.isfinite(threshold), moved, smallest)
        self.threshold.assign(ops.where(ops.isfinite(smallest), moved, threshold))

    def get_config(self):
        return {**super().get_config(), "synchronized": self.synchronized, "momentum": self.momentum}
