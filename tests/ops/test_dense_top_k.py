import keras
import numpy as np
import pytest

from keras_sae.ops import largest_of_dense, reaching_of_dense

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends compute dense codes")


@pytest.fixture
def layer():
    random = np.random.default_rng(0)
    return tuple(random.normal(size=shape).astype("float32") for shape in ((5, 6), (6, 515), (515,)))


def dense(values, indices):
    code = np.zeros((len(values), 515), "float32")
    for row, places, entries in zip(code, indices.numpy(), values.numpy(), strict=True):
        np.add.at(row, places, entries)
    return code


def test_the_largest_entries_of_a_dense_layer(layer):
    inputs, kernel, bias = layer
    values, indices, doubtful = largest_of_dense(*layer, 4)
    code = inputs @ kernel + bias
    code[code < np.sort(code, axis=-1)[:, -4:-3]] = 0
    np.testing.assert_allclose(dense(values, indices), code, rtol=1e-5)
    assert not doubtful


def test_the_compiled_function_serves_other_weights(layer):
    inputs, kernel, bias = layer
    before, after = (largest_of_dense(inputs, factor * kernel, factor * bias, 4)[0] for factor in (1, 2))
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


@pytest.mark.parametrize(
    "function",
    [lambda *layer: largest_of_dense(*layer, 4), lambda *layer: reaching_of_dense(*layer, 5.0, 20)],
    ids=["k", "bound"],
)
def test_the_compiled_function_serves_other_shapes(layer, function):
    inputs, kernel, bias = layer
    for units in (515, 400, 384):
        for samples in (5, 3, 2):
            values, indices, _ = function(inputs[:samples], kernel[:, :units], bias[:units])
            code = inputs[:samples] @ kernel[:, :units] + bias[:units]
            expected = np.where(values == 0, 0, np.take_along_axis(code, indices.numpy(), axis=1))
            np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_the_entries_that_reach_a_bound(layer):
    inputs, kernel, bias = layer
    values, indices, doubtful = reaching_of_dense(*layer, np.float32(5), 20)
    code = inputs @ kernel + bias
    np.testing.assert_allclose(dense(values, indices), np.where(code >= 5, code, 0), rtol=1e-5)
    assert not doubtful


@pytest.mark.parametrize(("bound", "most"), [(5, 1), (-1, 20), (-np.inf, 20)])
def test_too_many_entries_are_noticed(layer, bound, most):
    assert reaching_of_dense(*layer, np.float32(bound), most)[-1]


@pytest.mark.parametrize("unit", [0, 514])
def test_a_nan_is_noticed(layer, unit):
    layer[2][unit] = np.nan
    assert reaching_of_dense(*layer, np.float32(5), 20)[-1]
    assert largest_of_dense(*layer, 4)[-1]
