"""Adam in one pass over the weights."""

import functools

import keras


def fuse_adam(optimizer):
    """Lets a `keras.optimizers.Adam` or `AdamW` update each weight by one operation of TensorFlow. Returns the optimizer.

    Keras updates by about ten operations, each of which reads and writes as many numbers as there are weights. The values are
    the same up to rounding, and so are the optimizer's class, config and state. Other optimizers stay as they are, and so does
    Adam with `amsgrad`, on several replicas, for sparse gradients, and on the other backends.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    adam = type(inner) in (keras.optimizers.Adam, keras.optimizers.AdamW)
    if keras.backend.backend() == "tensorflow" and adam and not inner.amsgrad:
        inner.update_step = functools.partial(_update, inner)
    return optimizer


def _update(optimizer, gradient, variable, learning_rate):
    """Replaces `optimizer.update_step`. It reads the same private names of Keras as Keras' guide to custom optimizers."""
    import tensorflow as tf

    if tf.distribute.has_strategy() or isinstance(gradient, tf.IndexedSlices):
        return type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
    variable = getattr(variable, "value", variable) if isinstance(variable, keras.Variable) else variable
    index = optimizer._get_variable_index(variable)
    dtype = variable.dtype

    def number(value):
        return tf.convert_to_tensor(value, dtype)

    step = tf.cast(keras.ops.convert_to_tensor(optimizer.iterations) + 1, dtype)  # a tensor where gradients are accumulated
    return tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[index].value.handle,
        v=optimizer._velocities[index].value.handle,
        # Keras casts what it takes the powers of, and `tf.cast` rounds a Python float to float32 first.
        beta1_power=tf.pow(tf.cast(optimizer.beta_1, dtype), step),
        beta2_power=tf.pow(tf.cast(optimizer.beta_2, dtype), step),
        lr=tf.cast(learning_rate, dtype),
        beta1=number(optimizer.beta_1),
        beta2=number(optimizer.beta_2),
        epsilon=number(optimizer.epsilon),
        grad=tf.cast(gradient, dtype),
    )
