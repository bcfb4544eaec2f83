"""The largest entries of a dense layer, without its other outputs. TensorFlow only."""

import functools

from keras_sae.ops._sparse_dense import dense_entries
from keras_sae.ops._top_k import largest_in_order


def dense_top_k(inputs, kernel, bias, k, magnitude=False, transposed=None, portable=False):
    """The `k` largest entries of each row of `inputs @ kernel + bias`, in the order of the row. See `largest_in_order`.

    Gradients flow through these entries only, by sparse products.

    Args:
        inputs: Tensor of shape `(batch, inputs)`.
        kernel: Tensor of shape `(inputs, units)`.
        bias: Tensor of shape `(units,)`, or None.
        k: Integer.
        magnitude: Whether the largest in absolute value are meant.
        transposed: As in `dense_entries`.
        portable: As in `largest_in_order`.

    Returns:
        Values and indices, both of shape `(batch, k)`; the whole product, without gradient; and a boolean scalar, whether there
        may be a NaN in it.
    """
    import tensorflow as tf

    product = tf.matmul(inputs, kernel)
    product = tf.stop_gradient(product if bias is None else tf.nn.bias_add(product, bias))  # which TensorFlow fuses
    values, indices, doubtful = largest_in_order(product, k, magnitude, portable)
    values = dense_entries(inputs, kernel, bias, product, indices, transposed, values=tf.stop_gradient(values))
    return values, indices, product, doubtful


def largest_of_dense(inputs, kernel, bias, k, magnitude=False):
    """What `dense_top_k` returns but the product: compiled when called eagerly, else as a graph that may be exported."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return _compiled()(inputs, kernel, bias, k, magnitude)
    values, indices, _, doubtful = dense_top_k(inputs, kernel, bias, k, magnitude, portable=True)
    return values, indices, doubtful


@functools.cache
def _compiled():
    """One function for all models. It stays right when a model changes: only tensors of a model enter it."""
    import tensorflow as tf

    def entries(inputs, kernel, bias, k, magnitude):
        values, indices, _, doubtful = dense_top_k(inputs, kernel, bias, k, magnitude)
        return values, indices, doubtful

    return tf.function(entries, reduce_retracing=True)
