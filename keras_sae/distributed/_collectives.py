"""What the replicas of a `tf.distribute` strategy share. Outside a strategy, and on other backends, nothing."""

import keras


def replica_context():
    """The current replica's context, or None where there is only one replica to speak of."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return None
    return tf.distribute.get_replica_context()  # None in the cross-replica context, as while a model is built


def replica_count():
    """The number of replicas that train in step.

    Keras divides each replica's loss by this number. Whatever is added to the loss by hand must be divided too.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(tensor):
    """Sums `tensor` over all replicas, in one all-reduce through which gradients flow.

    Every replica must call it, with the same shape. Returns `tensor` itself where there is one replica.
    """
    context = replica_context()
    if context is None:
        return tensor
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def gather_over_replicas(tensor):
    """Concatenates `tensor` of all replicas along its first axis, in the order of the replicas. No gradient flows through.

    Every replica must call it; the first axis may differ between them. Outside a strategy it is `tensor` itself.

    Returns:
        The gathered tensor, and the index in it of this replica's first row.
    """
    context = replica_context()
    if context is None:
        return tensor, 0
    import tensorflow as tf

    # Whole tensors and their sizes travel apart, because sizes are integers and may differ.
    rows = context.all_gather(tf.shape(tensor)[:1], axis=0)  # (replicas,)
    gathered = context.all_gather(tf.stop_gradient(tensor), axis=0)
    gathered = tf.ensure_shape(gathered, [None, *tensor.shape[1:]])  # which gathering forgets
    return gathered, tf.cumsum(rows, exclusive=True)[context.replica_id_in_sync_group]
