"""Laws that every selection obeys."""

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops
from mechanisms import SELECTIONS, UNITS, code_of

rows = pytest.mark.parametrize("case", SELECTIONS.values(), ids=SELECTIONS)
both = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA as TensorFlow's tf.function runs it")


def run(case, code, training):
    return ops.convert_to_numpy(ops.cast(case.make()(code, training=training), "float32"))


def kept(case, code, training):
    """How many entries it keeps of a code of this shape, none of which is zero."""
    reference = case.reference(code, training)
    return None if reference is None else np.count_nonzero(reference)


@rows
@both
def test_selects_what_the_reference_selects(case, training):
    code = code_of(case)
    expected = case.reference(code, training)
    if expected is None:
        pytest.skip("what it selects at inference depends on its training: see test_batch_k_sparse.py")
    np.testing.assert_array_equal(run(case, code, training), expected)


@rows
@both
@pytest.mark.parametrize("value", [0.5, -0.5])
def test_equal_entries_keep_exactly_as_many(case, value, training):
    count = kept(case, code_of(case, rows=8), training)
    if count is None:
        pytest.skip("keeps what exceeds a threshold")
    equal = np.full((8, *case.positions, UNITS), value, "float32")
    assert np.count_nonzero(run(case, equal, training)) == count


@rows
@both
def test_kept_entries_are_left_as_they_are_and_zeros_stay_zero(case, training):
    code = np.maximum(code_of(case), 0)
    selected = run(case, code, training)
    np.testing.assert_array_equal(selected[selected != 0], code[selected != 0])
    assert not run(case, np.zeros_like(code), training).any()


@rows
@both
def test_permuting_units_permutes_the_selection(case, training):
    code, order = code_of(case), np.random.default_rng(1).permutation(UNITS)
    np.testing.assert_array_equal(run(case, code[..., order], training), run(case, code, training)[..., order])


@rows
@both
def test_gradients_flow_through_the_winners_alone(case, training):
    code = code_of(case)
    weights = np.random.default_rng(2).uniform(1, 2, code.shape).astype("float32")
    layer = case.make()
    layer.build((None, *code.shape[1:]))
    slopes = gradient(lambda x: ops.sum(ops.multiply(layer(x, training=training), weights)), code)
    selected = run(case, code, training)
    np.testing.assert_array_equal(slopes, np.where(selected != 0, weights, 0))


@rows
@both
def test_a_nan_takes_no_place_and_does_not_hide(case, training):
    code = code_of(case, rows=8)
    holes = np.random.default_rng(3).uniform(size=code.shape) < 0.05
    holes[1, ..., 2] = True
    spoiled = run(case, np.where(holes, np.nan, code), training)
    np.testing.assert_array_equal(np.isnan(spoiled), holes)
    # Elsewhere it is as if the spoiled entries were the smallest there are.
    lowest = run(case, np.where(holes, case.lowest, code).astype("float32"), training)
    np.testing.assert_array_equal(spoiled[~holes], lowest[~holes])


@rows
@both
def test_infinities_compete_as_numbers_do(case, training):
    code = code_of(case, rows=8)
    high, low = np.zeros((2, *code.shape), bool)
    high[0, ..., 1] = high[5, ..., 3] = low[2, ..., 4] = True
    large = np.where(high, np.inf, np.where(low, -np.inf, code)).astype("float32")
    finite = np.where(high, 1e30, np.where(low, -1e30, code)).astype("float32")
    ties = run(case, large, training)
    assert not np.isnan(ties).any()
    # What is kept, not where: several infinities tie, and among equals a backend may choose.
    kept = np.clip(ties, np.float32(-1e30), np.float32(1e30))
    np.testing.assert_array_equal(np.sort(kept, axis=None), np.sort(run(case, finite, training), axis=None))


@rows
@both
@pytest.mark.parametrize("count", [0, 1])
def test_batches_of_no_sample_and_of_one(case, training, count):
    code = code_of(case, rows=count)
    selected = run(case, code, training)
    assert selected.shape == code.shape
    expected = case.reference(code, training) if count else None
    if expected is not None:
        np.testing.assert_array_equal(selected, expected)


@rows
@both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_as_many(case, training, dtype):
    # Half precision has ties, in what was different.
    code = ops.cast(code_of(case, rows=64), dtype)
    layer = case.make().__class__.from_config({**case.make().get_config(), "dtype": f"mixed_{dtype}"})
    selected = layer(code, training=training)
    assert keras.backend.standardize_dtype(selected.dtype) == dtype
    count = kept(case, code_of(case, rows=64), training)
    if count is not None:
        assert np.count_nonzero(ops.convert_to_numpy(ops.cast(selected, "float32"))) == count


@rows
@both
@tensorflow_only
def test_compiled_by_xla_is_the_same(case, training):
    import tensorflow as tf

    code = tf.constant(code_of(case))
    layer = case.make()
    layer.build((None, *code.shape[1:]))
    layer.compile_by_xla(True)  # as models do
    compiled = tf.function(lambda x: layer(x, training=training), jit_compile=True)(code)
    np.testing.assert_array_equal(compiled, run(case, code, training))


@rows
def test_other_inference_batches_do_not_matter(case):
    code = code_of(case)
    layer = case.make()
    layer(code, training=True)
    alone = np.concatenate([ops.convert_to_numpy(layer(code[i : i + 1])) for i in range(4)])
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(code))[:4], alone)


@rows
def test_codes_without_units_or_with_unknown_ones_are_refused(case):
    for shape in ((None,), (None, *case.positions, None)):
        with pytest.raises(ValueError, match=r"Received: input_shape"):
            case.make().build(shape)
