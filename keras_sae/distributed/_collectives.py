"""Sums, concatenations and random seeds over the replicas of a `tf.distribute` strategy. Elsewhere there is one replica."""

import keras
from keras import ops


class SeedGenerator(keras.random.SeedGenerator):
    """A Keras SeedGenerator that gives each replica different seeds.

    With Keras' own, all replicas draw the same numbers, so the first sample of each would get the same noise.
    """

    def next(self, ordered=True):
        seed = super().next(ordered)  # two integers, the second of which counts draws
        context = _replica_context()
        if context is None:
            return seed
        return seed + ops.stack([ops.cast(context.replica_id_in_sync_group, seed.dtype), ops.zeros((), seed.dtype)])


def replica_count():
    """The number of replicas that train in step.

    Keras divides the loss of each replica by this number. If you add a term to the loss yourself, divide it too.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(tensor):
    """Sums `tensor` over all replicas with one all-reduce, which passes gradients.

    Every replica must call it with the same shape. With one replica, it returns `tensor` itself.
    """
    context = _replica_context()
    if context is None:
        return tensor
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def gather_over_replicas(tensor):
    """Concatenates `tensor` of all replicas along the first axis, in the order of the replicas. It passes no gradient.

    Every replica must call it. The first axis may differ between replicas. With one replica, it returns `tensor` itself.

    Returns:
        The gathered tensor, and the index of this replica's first row in it.
    """
    context = _replica_context()
    if context is None:
        return tensor, 0
    import tensorflow as tf

    # Two collectives: the sizes are integers, and the tensors may differ in size.
    rows = context.all_gather(tf.shape(tensor)[:1], axis=0)  # (replicas,)
    gathered = context.all_gather(tf.stop_gradient(tensor), axis=0)
    gathered = tf.ensure_shape(gathered, [None, *tensor.shape[1:]])  # gathering loses the static shape
    return gathered, tf.cumsum(rows, exclusive=True)[context.replica_id_in_sync_group]


def _replica_context():
    """The context of the current replica, or None if there is only one."""
    if replica_count() == 1:
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()  # None in the cross-replica context, such as while a model is built
