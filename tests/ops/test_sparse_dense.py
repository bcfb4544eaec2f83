import functools

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops

from keras_sae.ops import dense_entries, sparse_dense_matmul, to_dense

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


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("k", [1, 4, 45])
def test_gradients_of_the_product_are_those_of_the_dense_code(k, dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is enabled.")
    values, indices, _ = map(ops.convert_to_tensor, sparse_code(k))
    random = np.random.default_rng(1)
    kernel, weights = (random.normal(size=(rows, OUTPUTS)) for rows in (UNITS, BATCH))
    values, kernel, weights = (ops.cast(each, dtype) for each in (values, kernel, weights))

    def total(values, kernel, sparse):
        if sparse:
            return ops.sum(weights * sparse_dense_matmul(values, indices, kernel))
        return ops.sum(weights * ops.matmul(to_dense(values, indices, UNITS), kernel))

    tolerance = {"float16": 2e-2, "bfloat16": 1e-1}.get(dtype, 1e-5)
    of_values, of_kernel = (lambda x, sparse: total(x, kernel, sparse)), (lambda x, sparse: total(values, x, sparse))
    for function, x in ((of_values, values), (of_kernel, kernel)):
        got, expected = (gradient(functools.partial(function, sparse=sparse), x) for sparse in (True, False))
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_entries_of_a_dense_product_and_all_their_gradients(use_bias, transposed):
    random = np.random.default_rng(0)
    shapes = [(BATCH, OUTPUTS), (OUTPUTS, UNITS), (UNITS,)][: 3 if use_bias else 2]
    sources = [ops.cast(random.normal(size=shape), "float32") for shape in shapes]
    weights, indices, _ = map(ops.convert_to_tensor, sparse_code(4))

    def entries(inputs, kernel, bias=None, sparse=True):
        product = ops.matmul(inputs, kernel) + (0 if bias is None else bias)
        if not sparse:
            return ops.take_along_axis(product, indices, axis=1)
        product, rows = ops.stop_gradient(product), ops.transpose(kernel) if transposed else None
        return dense_entries(inputs, kernel, bias, product, indices, rows)

    np.testing.assert_array_equal(*(ops.convert_to_numpy(entries(*sources, sparse=sparse)) for sparse in (True, False)))
    for number, source in enumerate(sources):

        def total(x, sparse, number=number):
            return ops.sum(weights * entries(*sources[:number], x, *sources[number + 1 :], sparse=sparse))

        got, expected = (gradient(functools.partial(total, sparse=sparse), source) for sparse in (True, False))
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_an_empty_batch():
    def total(kernel):
        return ops.sum(sparse_dense_matmul(ops.zeros((0, 3)), ops.zeros((0, 3), "int32"), kernel))

    np.testing.assert_array_equal(gradient(total, np.ones((UNITS, OUTPUTS), "float32")), 0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="entries with rows are TensorFlow's")
@pytest.mark.parametrize("flat", [False, True])
def test_gradients_of_many_samples_are_computed_in_parts(flat, monkeypatch):
    import tensorflow as tf

    from keras_sae.ops import _sparse_dense, entries_matmul

    monkeypatch.setattr(_sparse_dense, "_ROWS", 3)  # the last part is not full
    monkeypatch.setattr(_sparse_dense, "_SLOTS", 2)
    rng = np.random.default_rng(0)
    values, kernel = tf.constant(rng.normal(size=(7, 4))), tf.constant(rng.normal(size=(20, 5)))
    indices = tf.constant([rng.choice(20, 4, replace=False) for _ in range(7)], "int32")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([values, kernel])
        if flat:
            rows = tf.range(28) // 4
            product = entries_matmul(tf.reshape(values, [-1]), tf.reshape(indices, [-1]), kernel, rows, 7)
        else:
            product = entries_matmul(values, indices, kernel)
        expected = tf.reduce_sum(values[..., None] * tf.gather(kernel, indices), axis=1)
        losses = [tf.reduce_sum(tf.sin(each)) for each in (product, expected)]
    np.testing.assert_allclose(product, expected, rtol=1e-10)
    for one, other in zip(*(tape.gradient(loss, [values, kernel]) for loss in losses), strict=True):
        np.testing.assert_allclose(one, tf.convert_to_tensor(other), rtol=1e-10)
