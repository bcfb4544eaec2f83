"""The largest entries of a dense layer, without its other outputs."""

import functools

import keras
from keras import ops

from keras_sae.ops._batch_top_k import at_least, block_maxima
from keras_sae.ops._sparse_dense import dense_entries, in_rows
from keras_sae.ops._top_k import has_nan, largest_entries, largest_in_order, without_nan


def dense_top_k(inputs, kernel, bias, k, magnitude=False, transposed=None, portable=False):
    """The `k` largest entries of each row of `inputs @ kernel + bias`. On TensorFlow they are in the order of the row.

    Gradients flow through these entries only, by sparse products.

    Args:
        inputs: Tensor of shape `(batch, inputs)`.
        kernel: Tensor of shape `(inputs, units)`.
        bias: Tensor of shape `(units,)`, or None.
        k: Integer.
        magnitude: Whether the largest in absolute value are meant.
        transposed: As in `dense_entries`.
        portable: As in `largest_in_order`, which finds them on TensorFlow.

    Returns:
        Values and indices, both of shape `(batch, k)`; the whole product, without gradient; and a boolean scalar, whether there
        may be a NaN in it.
    """
    product = dense_product(inputs, kernel, bias)
    values, indices, doubtful = top_k_of_product(inputs, kernel, bias, product, k, magnitude, transposed, portable)
    return values, indices, product, doubtful


def top_k_of_product(inputs, kernel, bias, product, k, magnitude=False, transposed=None, portable=False, scores=None):
    """What `dense_top_k` returns but the product, which the caller has. On TensorFlow, `scores` compete in its place."""
    if keras.backend.backend() != "tensorflow":
        doubtful = has_nan(product)
        scores = ops.cond(doubtful, lambda: without_nan(product), lambda: product)
        _, indices = largest_entries(scores, k, magnitude, ordered=False)
        return dense_entries(inputs, kernel, bias, product, indices, transposed), indices, doubtful
    values, indices, doubtful = largest_in_order(product if scores is None else scores, k, magnitude, portable)
    known = ops.stop_gradient(values) if scores is None else None
    return dense_entries(inputs, kernel, bias, product, indices, transposed, values=known), indices, doubtful


def largest_of_dense(inputs, kernel, bias, k, magnitude=False):
    """What `dense_top_k` returns but the product: compiled when called eagerly, else as a graph that may be exported."""
    if _is_eager():
        return _compiled(_without_product, tuple(kernel.shape))(inputs, kernel, bias, k, magnitude, portable=False)
    return _without_product(inputs, kernel, bias, k, magnitude, portable=True)


def reaching_of_dense(inputs, kernel, bias, bound, most):
    """The entries of `inputs @ kernel + bias` of at least a bound. Compiled when called eagerly. TensorFlow only.

    Args:
        inputs, kernel, bias: As in `dense_top_k`.
        bound: Float scalar tensor.
        most: Integer, the number of entries that a row may have on average.

    Returns:
        Values and indices, both of shape `(batch, n)`, filled up with zeros. And a boolean scalar: whether there may be a NaN,
        or are too many entries. Then the others mean nothing.
    """
    find = _compiled(_reaching, tuple(kernel.shape)) if _is_eager() else _reaching
    return find(inputs, kernel, bias, bound, most)


def _reaching(inputs, kernel, bias, bound, most):
    import tensorflow as tf

    units, samples = kernel.shape[1], tf.shape(inputs)[0]
    product = dense_product(inputs, kernel, bias)
    scores = tf.cast(tf.reshape(product, [-1]), tf.float32)
    best = block_maxima(scores)  # NaN where a block has one
    doubtful = has_nan(best) | (_number(best >= bound) > most * samples)
    places = at_least(scores, tf.where(doubtful, float("inf"), bound))
    rows, indices = places // units, places % units
    found = tf.stop_gradient(tf.gather(tf.reshape(product, [-1]), places))
    values = dense_entries(inputs, kernel, bias, product, indices, rows=rows, values=found)
    return *in_rows(values, rows, indices, samples), doubtful | (tf.size(places) > most * samples)


def _without_product(inputs, kernel, bias, k, magnitude, portable):
    values, indices, _, doubtful = dense_top_k(inputs, kernel, bias, k, magnitude, portable=portable)
    return values, indices, doubtful


def dense_product(inputs, kernel, bias):
    """`inputs @ kernel + bias`, without gradient."""
    if keras.backend.backend() != "tensorflow":
        product = ops.matmul(inputs, kernel)
        return ops.stop_gradient(product if bias is None else ops.add(product, bias))
    import tensorflow as tf

    product = tf.matmul(inputs, kernel)
    return tf.stop_gradient(product if bias is None else tf.nn.bias_add(product, bias))


def _number(mask):
    import tensorflow as tf

    return tf.math.count_nonzero(mask, dtype=tf.int32)


def _is_eager():
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return tf.executing_eagerly()


@functools.lru_cache(32)
def _compiled(function, shape):
    """One function for all models whose kernels have this shape. It stays right when a model changes: only tensors enter it."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function, static_argnames=("k", "magnitude", "portable"))
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(function)
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True, autograph=False)  # which leaves the number of inputs open
