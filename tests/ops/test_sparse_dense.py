import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.ops import dense_entries, sparse_dense_matmul, to_dense

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients are taken by TensorFlow")
BATCH, UNITS, OUTPUTS = 5, 50, 7


def sparse_code(k, seed=0):
    """Values, indices that differ within a sample, and the dense code."""
    random = np.random.default_rng(seed)
    indices = np.array([random.permutation(UNITS)[:k] for _ in range(BATCH)], "int32")
    values = random.normal(size=(BATCH, k)).astype("float32")
    dense = np.zeros((BATCH, UNITS), "float32")
    np.put_along_axis(dense, indices, values, axis=1)
    return values, indices, dense


@pytest.mark.parametrize("k", [1, 4, 45])
def test_the_product_is_that_of_the_dense_code(k):
    values, indices, dense = sparse_code(k)
    kernel = np.random.default_rng(1).normal(size=(UNITS, OUTPUTS)).astype("float32")
    product = ops.convert_to_numpy(sparse_dense_matmul(values, indices, kernel))
    np.testing.assert_allclose(product, dense @ kernel, rtol=1e-5, atol=1e-5)


def test_entries_of_equal_index_add_up():
    product = sparse_dense_matmul(np.array([[1.0, 2.0]], "float32"), [[1, 1]], np.array([[5.0], [7.0]], "float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(product), [[21.0]])


@pytest.mark.parametrize("shapes", [[(3,), (3,), (4, 2)], [(1, 3), (1, 3), (4,)]])
def test_other_shapes_are_refused(shapes):
    values, indices, kernel = (np.zeros(shape, dtype) for shape, dtype in zip(shapes, ("f", "i", "f"), strict=True))
    with pytest.raises(ValueError, match="Received"):
        sparse_dense_matmul(values, indices, kernel)


@on_tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("k", [1, 4, 45])
def test_gradients_of_the_product_are_those_of_the_dense_code(k, dtype):
    import tensorflow as tf

    values, indices, _ = sparse_code(k)
    values = tf.cast(values, dtype)
    kernel = tf.random.stateless_normal((UNITS, OUTPUTS), seed=(0, 1), dtype=dtype)
    weights = tf.random.stateless_normal((BATCH, OUTPUTS), seed=(0, 2), dtype=dtype)

    @tf.function
    def gradients(values, kernel, sparse):
        with tf.GradientTape() as tape:
            tape.watch((values, kernel))
            code = None if sparse else to_dense(values, indices, UNITS)
            product = sparse_dense_matmul(values, indices, kernel) if sparse else code @ kernel
            total = tf.reduce_sum(weights * product)
        return tape.gradient(total, (values, kernel))

    tolerance = {"float16": 2e-2, "bfloat16": 1e-1}.get(dtype, 1e-5)
    for got, expected in zip(gradients(values, kernel, True), gradients(values, kernel, False), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(tf.cast(got, "float64"), tf.cast(expected, "float64"), rtol=tolerance, atol=tolerance)


@on_tensorflow
@pytest.mark.parametrize("use_bias", [True, False])
def test_entries_of_a_dense_product_and_all_their_gradients(use_bias):
    import tensorflow as tf

    random = np.random.default_rng(0)
    inputs = tf.constant(random.normal(size=(BATCH, OUTPUTS)), "float32")
    kernel = tf.constant(random.normal(size=(OUTPUTS, UNITS)), "float32")
    bias = tf.constant(random.normal(size=UNITS), "float32") if use_bias else None
    sources = (inputs, kernel, bias) if use_bias else (inputs, kernel)
    weights, indices, _ = sparse_code(4)

    def product():
        return inputs @ kernel if bias is None else inputs @ kernel + bias

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        expected = tf.gather(product(), indices, batch_dims=1)
        entries = dense_entries(inputs, kernel, bias, tf.stop_gradient(product()), indices)
        totals = [tf.reduce_sum(weights * each) for each in (entries, expected)]
    np.testing.assert_array_equal(entries, expected)
    for source in sources:
        np.testing.assert_allclose(*(tape.gradient(total, source) for total in totals), rtol=1e-5, atol=1e-5)


@on_tensorflow
def test_an_empty_batch():
    import tensorflow as tf

    kernel = tf.ones((UNITS, OUTPUTS))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        total = tf.reduce_sum(sparse_dense_matmul(tf.zeros((0, 3)), tf.zeros((0, 3), "int32"), kernel))
    np.testing.assert_array_equal(tape.gradient(total, kernel), np.zeros((UNITS, OUTPUTS)))
