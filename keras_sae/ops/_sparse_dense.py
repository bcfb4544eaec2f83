"""Products of codes that are given by their few entries with dense kernels, and the gradients of such products."""

import keras
from keras import ops

from keras_sae.ops import _jax, _torch

_SLOTS = 32  # entries of each sample whose rows of the kernel are gathered at a time
_ROWS = 128  # samples for which this is done at a time where gradients are computed


def sparse_dense_matmul(values, indices, kernel):
    """Multiplies sparse codes by a dense kernel without making the codes dense.

        outputs[i] = sum_j  values[i, j] * kernel[indices[i, j]]

    Equal to `code @ kernel` for the code that has `values` at `indices` and zeros elsewhere; entries of equal index add up.
    The cost grows with the number of entries, not with the width of the code. The gradient of `kernel` is a dense tensor.

    Args:
        values: Float tensor of shape `(batch, k)`.
        indices: Integer tensor of shape `(batch, k)`, each at least 0 and less than `units`.
        kernel: Float tensor of shape `(units, outputs)`.

    Returns:
        Tensor of shape `(batch, outputs)`.

    Example:

    >>> kernel = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 7.0]], "float32")
    >>> keras.ops.convert_to_numpy(sparse_dense_matmul(np.array([[2.0, 1.0]], "float32"), [[0, 2]], kernel)).tolist()
    [[7.0, 7.0]]
    """
    values, kernel = ops.convert_to_tensor(values), ops.convert_to_tensor(kernel)
    indices = ops.cast(ops.convert_to_tensor(indices), "int32")
    if len(values.shape) != 2 or len(indices.shape) != 2 or len(kernel.shape) != 2:
        raise ValueError(
            "A sparse code has `values` and `indices` of shape (batch, k), and its kernel the shape (units, outputs). "
            f"Received: values of shape {tuple(values.shape)}, indices of shape {tuple(indices.shape)}, kernel of shape "
            f"{tuple(kernel.shape)}."
        )
    dtype = keras.backend.result_type(values.dtype, kernel.dtype)
    values, kernel = ops.cast(values, dtype), ops.cast(kernel, dtype)
    if keras.backend.backend() != "tensorflow":
        return _elsewhere().sparse_dense_matmul(values, indices, kernel)

    @ops.custom_gradient
    def product(values, kernel):
        def gradient(*upstream):
            (upstream,) = upstream
            return _dot_rows(upstream, indices, kernel), transposed_matmul(values, indices, upstream, kernel.shape[0])

        return _weighted_rows(values, indices, kernel), gradient

    return product(values, kernel)


def _elsewhere():
    """The module with the products of another backend than TensorFlow."""
    return _jax if keras.backend.backend() == "jax" else _torch


def entries_matmul(values, indices, kernel, rows=None, batch=None):
    """The product of `sparse_dense_matmul`, without a copy of the rows of the kernel. On TensorFlow not for exports.

        outputs[i] = sum_(j: rows[j] = i)  values[j] * kernel[indices[j]]

    Args:
        values, indices: Tensors of shape `(batch, k)`; or `(n,)` with `rows`, for codes of different numbers of entries.
        kernel: Tensor of shape `(units, outputs)`.
        rows: None, or the code of each entry, in order. TensorFlow only.
        batch: The number of codes, where `rows` is given.
    """
    if keras.backend.backend() != "tensorflow":
        return sparse_dense_matmul(values, indices, kernel)
    import tensorflow as tf

    @tf.custom_gradient
    def product(values, kernel):
        def gradient(upstream):
            of_values = _dot_rows(upstream, indices, kernel) if rows is None else _dot_entries(upstream, rows, indices, kernel)
            # An optimizer that changes a kernel while it is still read would copy it first.
            with tf.control_dependencies([of_values]):
                of_kernel = transposed_matmul(values, indices, tf.identity(upstream), kernel.shape[0], rows)
            return of_values, of_kernel

        return _product(values, rows, indices, kernel, batch), gradient

    return product(values, kernel)


def dense_entries(inputs, kernel, bias, product, indices, transposed=None, rows=None, values=None):
    """The entries at `indices` of `inputs @ kernel + bias`, with gradients by sparse products.

    Args:
        inputs: Tensor of shape `(batch, inputs)`.
        kernel: Tensor of shape `(inputs, units)`.
        bias: Tensor of shape `(units,)`, or None.
        product: The value of `inputs @ kernel + bias`, without gradient.
        indices: Integer tensor of shape `(batch, k)`, or `(n,)` with `rows`.
        transposed: None, or the transposed kernel, where the caller has it. It then gets the gradient of the kernel.
        rows: None, or the row of each of the `indices`, in order. TensorFlow only.
        values: None, or the entries, where the caller has them. TensorFlow only.
    """
    if keras.backend.backend() != "tensorflow":
        return _elsewhere().dense_entries(inputs, kernel, bias, product, indices, transposed)
    import tensorflow as tf

    @tf.custom_gradient
    def entries(inputs, kernel, *bias):
        def gradient(upstream):
            rows_of_units = tf.transpose(kernel) if transposed is None else kernel
            of_kernel = transposed_matmul(upstream, indices, inputs, units, rows)
            of_inputs = _product(upstream, rows, indices, rows_of_units, tf.shape(inputs)[0])
            of_bias = [_sum_by_unit(upstream, indices, units) for _ in bias]
            return (of_inputs, tf.transpose(of_kernel) if transposed is None else of_kernel, *of_bias)

        if values is not None:
            return values, gradient
        if rows is None:
            return tf.gather(product, indices, batch_dims=1), gradient
        return tf.gather_nd(product, tf.stack([rows, indices], axis=1)), gradient

    units = kernel.shape[1]
    return entries(inputs, kernel if transposed is None else transposed, *(() if bias is None else (bias,)))


def on_cpu():
    """Whether the backend computes on CPUs alone, where these products were measured."""
    if keras.backend.backend() != "tensorflow":
        return _elsewhere().on_cpu()
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


def to_dense(values, indices, units, rows=None, batch=None):
    """The dense code, `(batch, units)`. Entries of equal index add up.

    `values` and `indices` have the shape `(batch, k)`, or on TensorFlow `(n,)` with the row of each and the number of codes.
    """
    if keras.backend.backend() != "tensorflow":
        return _elsewhere().to_dense(values, indices, units)
    import tensorflow as tf

    @tf.custom_gradient
    def spread(values):
        if rows is None:
            count = tf.shape(values)[0]
            places = tf.stack([tf.broadcast_to(tf.range(count)[:, None], tf.shape(indices)), indices], axis=-1)
        else:
            count, places = batch, tf.stack([rows, indices], axis=-1)
        return tf.scatter_nd(places, values, (count, units)), lambda upstream: tf.gather_nd(upstream, places)

    return spread(values)


def in_rows(values, rows, indices, samples):
    """Values and indices of shape `(samples, n)` with `n` the most entries of a sample. Others get zeros. TensorFlow only."""
    import tensorflow as tf

    counts = tf.math.bincount(rows, minlength=samples, maxlength=samples, dtype=tf.int32)
    first = tf.cumsum(counts, exclusive=True)
    places = tf.stack([rows, tf.range(tf.shape(rows)[0]) - tf.gather(first, rows)], axis=1)
    shape = tf.stack([samples, tf.maximum(tf.reduce_max(counts), 0)])  # of no samples, the maximum is negative
    return tf.scatter_nd(places, values, shape), tf.scatter_nd(places, indices, shape)


def transposed_matmul(values, indices, dense, units, rows=None):
    """`transpose(code) @ dense`, of shape `(units, columns)`, for a code with `values` at `indices`. TensorFlow only.

    The entries are sorted by unit. TensorFlow then multiplies by rows on all threads, which its product of a sparse tensor does
    not.
    """
    import tensorflow as tf

    if rows is None:
        values, rows, indices = in_one_list(values, indices)
    order = tf.argsort(indices, stable=True)
    values, rows, indices = (tf.gather(part, order) for part in (values, rows, indices))
    product = _csr_matmul(values, indices, rows, dense, units)
    return tf.ensure_shape(product, (units, dense.shape[1]))


def _product(values, rows, indices, kernel, batch):
    """The product of codes with a kernel. Without `rows`, `values` and `indices` have a row for each code."""
    import tensorflow as tf

    if rows is not None:
        return _csr_matmul(values, rows, indices, kernel, batch)
    if kernel.dtype not in (tf.float32, tf.float64):  # the whole kernel would be cast
        return _weighted_rows(values, indices, kernel)
    return _csr_matmul(*in_one_list(values, indices), kernel, tf.shape(indices)[0])


def in_one_list(values, indices):
    """Entries of shape `(batch, k)` in one list: values, the row of each, and indices. TensorFlow only."""
    import tensorflow as tf

    batch, k = tf.unstack(tf.shape(indices))
    rows = tf.range(batch * k) // tf.maximum(k, 1)
    return tf.reshape(values, [-1]), rows, tf.reshape(indices, [-1])


def _csr_matmul(values, rows, columns, dense, row_count):
    """The product of a matrix that has `values` at these places, in the order of its rows, with a dense one."""
    import tensorflow as tf

    dtype = tf.float64 if dense.dtype == tf.float64 else tf.float32  # the only ones of the product
    matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=tf.cast(tf.stack([rows, columns], axis=1), tf.int64),
        values=tf.cast(values, dtype),
        dense_shape=tf.cast([row_count, tf.shape(dense)[0]], tf.int64),
    )
    product = tf.raw_ops.SparseMatrixMatMul(a=matrix, b=tf.cast(dense, dtype))
    return tf.cast(tf.ensure_shape(product, (None, dense.shape[1])), dense.dtype)


def _sum_by_unit(values, indices, units):
    import tensorflow as tf

    return tf.math.unsorted_segment_sum(tf.reshape(values, [-1]), tf.reshape(indices, [-1]), units)


def _weighted_rows(values, indices, kernel):
    """The sum of the rows of a kernel at `indices`, each times its value."""
    parts = [
        ops.squeeze(ops.matmul(ops.expand_dims(each, 1), ops.take(kernel, places, axis=0)), 1)
        for each, places in zip(_in_parts(values), _in_parts(indices), strict=True)
    ]
    return sum(parts[1:], parts[0])


def _dot_rows(upstream, indices, kernel):
    """The product of each row of `upstream` with the rows of a kernel at `indices`, of their shape. TensorFlow only."""
    import tensorflow as tf

    def dot(indices, upstream):
        return tf.squeeze(tf.matmul(tf.gather(kernel, indices), tf.expand_dims(upstream, -1)), -1)

    return _in_turn(dot, _ROWS, kernel.dtype, indices, upstream)


def _dot_entries(upstream, rows, indices, kernel):
    """The products of single rows of `upstream` with single rows of a kernel, of shape `(n,)`. TensorFlow only."""
    import tensorflow as tf

    def dot(indices, rows):
        return tf.reduce_sum(tf.gather(upstream, rows) * tf.gather(kernel, indices), axis=-1)

    return _in_turn(dot, _SLOTS * _ROWS, kernel.dtype, indices, rows)


def _in_turn(function, size, dtype, *tensors):
    """Applies a function to `size` rows of the tensors after the others, so that few intermediate results are in memory.

    The result has the shape of the first tensor.
    """
    import tensorflow as tf

    total = tf.shape(tensors[0])[0]
    parts = tf.maximum((total + size - 1) // size, 1)

    def step(part, found):
        return part + 1, found.write(part, function(*(tensor[part * size : (part + 1) * size] for tensor in tensors)))

    found = tf.TensorArray(dtype, parts, infer_shape=False, element_shape=(None, *tensors[0].shape[1:]))
    _, found = tf.while_loop(lambda part, _: part < parts, step, (0, found), parallel_iterations=1)
    return found.concat()


def _in_parts(tensor):
    """A tensor of shape `(batch, k)` in parts of few columns, so that the rows of the kernel for one part fit in memory."""
    k = tensor.shape[1]
    return [tensor] if k is None or k <= _SLOTS else [tensor[:, start : start + _SLOTS] for start in range(0, k, _SLOTS)]
