import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.ops import largest_entries, largest_in_order, top_k

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends have one level")
lowest_index_wins = pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch breaks ties in no fixed order")


def first_winners(rows, k):
    """Indices of the largest entries, the first of equal ones, by a stable sort."""
    return np.argsort(-rows, axis=-1, kind="stable")[:, :k]


def rows_of(kind, units):
    random = np.random.default_rng(units)
    rows = {
        "different": lambda: random.normal(size=(20, units)),
        "ties": lambda: random.integers(0, 4, (20, units)),
        "mostly zero": lambda: np.maximum(random.normal(size=(20, units)) - 3, 0),
        "equal": lambda: np.ones((3, units)),
        "rising": lambda: np.tile(np.arange(units), (2, 1)),
        "infinite": lambda: np.where(random.uniform(size=(20, units)) < 0.01, random.normal(size=(20, units)), -np.inf),
    }
    return rows[kind]().astype("float32")


@lowest_index_wins
@pytest.mark.parametrize("kind", ["different", "ties", "mostly zero", "equal", "rising", "infinite"])
@pytest.mark.parametrize(("k", "units"), [(1, 129), (3, 384), (3, 415), (8, 1024), (8, 1055)])
def test_the_first_of_the_largest_win_on_two_levels_too(kind, k, units):
    rows = rows_of(kind, units)
    values, indices = map(ops.convert_to_numpy, top_k(rows, k))
    np.testing.assert_array_equal(indices, first_winners(rows, k))
    np.testing.assert_array_equal(values, np.take_along_axis(rows, indices, axis=-1))
    assert indices.dtype == "int32"


@lowest_index_wins
@pytest.mark.parametrize("units", [64, 1030])
def test_the_largest_in_absolute_value_keep_their_signs(units):
    rows = np.random.default_rng(0).integers(-9, 10, (20, units)).astype("float32")
    values, indices = map(ops.convert_to_numpy, largest_entries(ops.convert_to_tensor(rows), 8, magnitude=True))
    np.testing.assert_array_equal(indices, first_winners(np.abs(rows), 8))
    np.testing.assert_array_equal(values, np.take_along_axis(rows, indices, axis=-1))


@on_tensorflow
@pytest.mark.parametrize("kind", ["different", "ties", "mostly zero", "equal", "rising", "infinite"])
@pytest.mark.parametrize(("k", "units"), [(1, 129), (3, 384), (8, 1024), (8, 1055), (25, 1000)])
@pytest.mark.parametrize(("magnitude", "portable"), [(False, True), (True, False)])
def test_the_first_of_the_largest_in_the_order_of_rows(kind, k, units, magnitude, portable):
    rows = rows_of(kind, units)
    if magnitude:
        rows[:, ::2] *= -1
    values, indices, doubtful = map(ops.convert_to_numpy, largest_in_order(ops.convert_to_tensor(rows), k, magnitude, portable))
    np.testing.assert_array_equal(indices, np.sort(first_winners(np.abs(rows) if magnitude else rows, k)))
    np.testing.assert_array_equal(values, np.take_along_axis(rows, indices, axis=-1))
    assert indices.dtype == "int32"
    assert not doubtful or kind == "infinite"


@on_tensorflow
@pytest.mark.parametrize("units", [64, 1024])
def test_a_nan_is_noticed_and_none_of_the_largest(units):
    rows = rows_of("different", units)
    rows[3, :7] = np.nan
    values, indices, doubtful = map(ops.convert_to_numpy, largest_in_order(ops.convert_to_tensor(rows), 8))
    np.testing.assert_array_equal(indices, np.sort(first_winners(np.where(np.isnan(rows), -np.inf, rows), 8)))
    assert doubtful
    assert not np.isnan(values).any()


@on_tensorflow
def test_no_rows_have_no_largest():
    values, indices, _ = largest_in_order(ops.zeros((0, 1024)), 8)
    assert tuple(values.shape) == tuple(indices.shape) == (0, 8)


@on_tensorflow
def test_a_batch_takes_the_slower_way_only_where_many_entries_are_equal(monkeypatch):
    """A row of zeros is that of an empty image, say."""
    taken = []
    monkeypatch.setattr(
        "keras_sae.ops._top_k.largest_entries", lambda *arguments, **_: taken.append(1) or largest_entries(*arguments)
    )
    rows = rows_of("different", 1024)
    largest_in_order(ops.convert_to_tensor(rows), 8)
    assert not taken
    rows[0] = 0
    largest_in_order(ops.convert_to_tensor(rows), 8)
    assert taken


@pytest.mark.parametrize("units", [6, 1024])
def test_a_nan_counts_as_minus_infinity(units):
    rows = np.full((2, units), -1.0, "float32")
    rows[0, :2] = np.nan, 5.0
    rows[1, 2:] = np.nan
    values, indices = map(ops.convert_to_numpy, top_k(rows, 3))
    np.testing.assert_array_equal(values, [[5, -1, -1], [-1, -1, -np.inf]])
    assert 0 not in indices[0]


def test_rows_of_any_shape():
    rows = np.random.default_rng(0).normal(size=(2, 3, 300)).astype("float32")
    values, indices = map(ops.convert_to_numpy, top_k(rows, 2))
    assert indices.shape == (2, 3, 2)
    np.testing.assert_array_equal(values, np.sort(rows)[..., :-3:-1])
    assert tuple(top_k(rows[0, 0], 2)[0].shape) == (2,)
    assert tuple(top_k(rows[:0], 2)[0].shape) == (0, 3, 2)


@on_tensorflow
@pytest.mark.parametrize("units", [6, 600])
def test_gradients_flow_through_the_winners_only(units):
    import tensorflow as tf

    rows = tf.reshape(tf.range(2.0 * units), (2, units))
    with tf.GradientTape() as tape:
        tape.watch(rows)
        total = tf.reduce_sum(top_k(rows, 2)[0] * tf.constant([[2.0, 3.0]]))
    expected = np.zeros((2, units))
    expected[:, -1], expected[:, -2] = 2, 3
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(total, rows)), expected)


@on_tensorflow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_and_xla(dtype):
    import tensorflow as tf

    rows = tf.cast(rows_of("different", 520), dtype)
    found = tf.function(lambda rows: top_k(rows, 4), jit_compile=dtype != "float64")(rows)
    assert found[0].dtype == rows.dtype
    np.testing.assert_array_equal(found[1], first_winners(tf.cast(rows, "float64").numpy(), 4))


@pytest.mark.parametrize("k", [0, 7, 1.5])
def test_k_must_fit_the_row(k):
    with pytest.raises(ValueError, match="rows of 6"):
        top_k(np.zeros((2, 6), "float32"), k)


def test_a_scalar_is_no_row():
    with pytest.raises(ValueError, match="last axis"):
        top_k(np.float32(1), 1)
