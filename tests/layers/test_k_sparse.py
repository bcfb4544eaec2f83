import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import KSparse

ROWS = np.array([[0.5, -3.0, 2.0, 1.0], [-1.0, -2.0, -3.0, -4.0]], "float32")


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_keeps_the_k_largest_signed_values():
    np.testing.assert_array_equal(as_numpy(KSparse(2)(ROWS)), [[0, 0, 2, 1], [-1, -2, 0, 0]])


def test_keeps_the_k_largest_magnitudes():
    layer = KSparse(2, select_by="magnitude")
    np.testing.assert_array_equal(as_numpy(layer(ROWS)), [[0, -3, 2, 0], [0, 0, -3, -4]])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [0.25, -0.25])
def test_equal_entries_keep_exactly_k(value, training):
    equal = np.full((5, 40), value, "float32")
    assert (np.count_nonzero(as_numpy(KSparse(7)(equal, training=training)), axis=-1) == 7).all()


@pytest.mark.parametrize(("k", "units"), [(1, 16), (3, 48), (3, 56), (25, 1000), (25, 1001), (25, 392)])
def test_long_rows_keep_exactly_the_largest_whatever_the_ties(k, units):
    # Rows whose winners stand together, are spread, are tied, or are minus infinity.
    random = np.random.default_rng(0)
    together = np.tile(np.arange(units, dtype="float32"), (4, 1))
    spread = random.normal(size=(50, units)).astype("float32")
    tied = random.integers(1, 5, (50, units)).astype("float32")
    infinite = np.where(random.uniform(size=(50, units)) < 0.02, spread, -np.inf).astype("float32")
    for code in (together, together[:, ::-1], spread, tied, infinite):
        for training in (True, False):
            kept = as_numpy(KSparse(k)(code, training=training))
            expected = np.sort(code, axis=-1)[:, -k:]
            np.testing.assert_array_equal(np.sum(kept != 0, axis=-1), np.sum(expected != 0, axis=-1))
            np.testing.assert_array_equal(
                np.sort(np.where(kept == 0, -np.inf, kept))[:, -k:][expected != 0], expected[expected != 0]
            )


def test_ties_at_the_threshold_keep_exactly_k():
    row = np.array([[3.0, 1.0, 1.0, 1.0, 1.0, 0.5]], "float32")
    kept = as_numpy(KSparse(3)(row))
    assert np.count_nonzero(kept) == 3
    assert kept[0, 0] == 3.0
    assert kept[0, 5] == 0.0


@pytest.mark.parametrize(
    ("k", "alpha", "units", "kept"),
    [(4, 1.0, 20, 4), (4, 3.0, 20, 12), (3, 1.5, 20, 5), (10, 1.1, 20, 11), (4, 100.0, 20, 20)],
)
def test_inference_keeps_alpha_times_k_rounded_up(k, alpha, units, kept):
    code = np.random.default_rng(0).normal(size=(6, units)).astype("float32")
    layer = KSparse(k, alpha=alpha)
    assert (np.count_nonzero(as_numpy(layer(code, training=False)), axis=-1) == kept).all()
    assert (np.count_nonzero(as_numpy(layer(code, training=True)), axis=-1) == k).all()


def test_every_position_selects_among_its_own_units():
    code = np.random.default_rng(0).normal(size=(2, 3, 4, 9)).astype("float32")
    kept = as_numpy(KSparse(2)(code))
    assert kept.shape == code.shape
    assert (np.count_nonzero(kept, axis=-1) == 2).all()


@pytest.mark.parametrize("current", [1, 2, 5, 8, 9, 20])
def test_current_k_rules_training_and_not_inference(current):
    code = np.random.default_rng(0).normal(size=(6, 20)).astype("float32")
    layer = KSparse(2)
    layer.build(code.shape)
    layer.current_k.assign(current)
    kept = as_numpy(layer(code, training=True))
    assert (np.count_nonzero(kept, axis=-1) == current).all()
    # and they are the largest: no entry left out exceeds one kept
    left_out = np.where(kept == 0, code, -np.inf).max(axis=-1)
    assert (np.where(kept == 0, np.inf, kept).min(axis=-1) >= left_out).all()
    assert (np.count_nonzero(as_numpy(layer(code)), axis=-1) == 2).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function is TensorFlow's")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_current_k_can_change_in_a_compiled_graph(jit_compile):
    import tensorflow as tf

    code = tf.random.normal((6, 20), seed=0)
    layer = KSparse(2)
    layer.build(code.shape)
    layer.compile_by_xla(jit_compile)
    select = tf.function(lambda z: layer(z, training=True), jit_compile=jit_compile)
    for current in (2, 7, 20):
        layer.current_k.assign(current)
        np.testing.assert_array_equal(np.count_nonzero(select(code).numpy(), axis=-1), current)
    assert select.experimental_get_tracing_count() == 1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="GradientTape is TensorFlow's")
def test_gradients_flow_through_the_winners_only():
    import tensorflow as tf

    code = tf.constant(ROWS)
    layer = KSparse(2)
    with tf.GradientTape() as tape:
        tape.watch(code)
        total = tf.reduce_sum(layer(code, training=True) * tf.constant([[1.0, 2.0, 3.0, 4.0]]))
    np.testing.assert_array_equal(tape.gradient(total, code), [[0, 0, 3, 4], [1, 2, 0, 0]])


@pytest.mark.parametrize("training", [True, False])
def test_nan_takes_no_place_and_does_not_hide(training):
    code = np.array([[np.nan, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]], "float32")
    kept = as_numpy(KSparse(2)(code, training=training))
    np.testing.assert_array_equal(kept, [[np.nan, 0, 2, 3], [0, 0, 2, 3]])


def test_infinite_entries_compete_as_numbers_do():
    code = np.array([[np.inf, 1.0, -np.inf, 3.0]], "float32")
    np.testing.assert_array_equal(as_numpy(KSparse(2)(code)), [[np.inf, 0, 0, 3]])


@pytest.mark.parametrize("training", [True, False])
def test_batches_of_no_rows_and_of_one(training):
    assert as_numpy(KSparse(2)(np.zeros((0, 4), "float32"), training=training)).shape == (0, 4)
    assert np.count_nonzero(as_numpy(KSparse(2)(np.ones((1, 4), "float32"), training=training))) == 2


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has float64 only where jax_enable_x64 is set")
    code = np.random.default_rng(0).normal(size=(8, 30)).astype("float32")
    for training in (True, False):
        kept = KSparse(5, dtype=dtype)(code, training=training)
        assert keras.backend.standardize_dtype(kept.dtype) == dtype.removeprefix("mixed_")
        assert (np.count_nonzero(as_numpy(ops.cast(kept, "float32")), axis=-1) == 5).all()


def test_k_above_the_units_is_refused_at_build_with_both_numbers():
    with pytest.raises(ValueError, match="k=25, units=16"):
        KSparse(25)(np.zeros((2, 16), "float32"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 0},
        {"k": 2.5},
        {"k": True},
        {"k": "3"},
        {"k": 3, "alpha": "2"},
        {"k": 3, "alpha": 0.5},
        {"k": 3, "alpha": float("nan")},
        {"k": 3, "select_by": "size"},
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments):
    with pytest.raises(ValueError, match="Received"):
        KSparse(**arguments)


def test_scalar_rows_are_refused():
    with pytest.raises(ValueError, match="last axis"):
        KSparse(1).build((None,))


def test_config_round_trip():
    layer = KSparse(3, alpha=2.5, select_by="magnitude", name="code")
    again = KSparse.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.k, again.alpha, again.select_by) == (3, 2.5, "magnitude")
