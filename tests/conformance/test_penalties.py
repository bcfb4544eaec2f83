"""Laws that every penalty obeys."""

import keras
import numpy as np
import pytest
from gradients import differences, gradient
from keras import ops
from mechanisms import PENALTIES, UNITS, code_of, is_supervised, labels_of

from keras_sae.models._objective import Objective

rows = pytest.mark.parametrize("case", PENALTIES.values(), ids=PENALTIES)
own = {name: case for name, case in PENALTIES.items() if hasattr(case.make(), "penalty")}
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA as TensorFlow's tf.function runs it")


def charge(case, code, labels=None, objective=None):
    """The value of a penalty, by the way that models take."""
    objective = objective or Objective({"code": [case.make()]}, {"code": (None, UNITS)})
    if labels is None and is_supervised(case):
        labels = labels_of(code.shape[0])
    return objective.values({"code": code}, labels, training=False)[0][0]


def exactly(case, code):
    """The closed form, in float64."""
    labels = np.repeat(labels_of(len(code)), int(np.prod(case.positions)))
    return case.closed_form(np.asarray(code, "float64").reshape(-1, UNITS), labels)


def as_float(tensor):
    return float(ops.convert_to_numpy(ops.cast(tensor, "float32")))


@rows
def test_equals_its_closed_form(case):
    code = code_of(case)
    np.testing.assert_allclose(as_float(charge(case, code)), exactly(case, code), rtol=1e-5)


@pytest.mark.parametrize("case", own.values(), ids=own)
def test_called_by_itself_it_is_the_same(case):
    code = code_of(case)
    labels = [labels_of(len(code))] if is_supervised(case) else []
    np.testing.assert_allclose(as_float(case.make().penalty(code, *labels)), exactly(case, code), rtol=1e-5)


@rows
def test_gradients_equal_finite_differences(case):
    code = code_of(case, rows=4)
    slopes = gradient(lambda x: charge(case, x), code)
    entries = [(0, ..., 0), (1, ..., 5), (3, ..., 11)]
    entries = [tuple(0 if axis is ... else axis for axis in entry) for entry in entries]
    if case.positions:
        entries = [(entry[0], 1, 2, entry[-1]) for entry in entries]
    else:
        entries = [(entry[0], entry[-1]) for entry in entries]
    expected = differences(lambda x: exactly(case, x), code.astype("float64"), entries)
    np.testing.assert_allclose([slopes[entry] for entry in entries], expected, rtol=1e-4, atol=1e-6)


@rows
@pytest.mark.parametrize("batch", [1, 16, 64])
def test_the_same_sample_repeated_costs_the_same(case, batch):
    sample = code_of(case, rows=1)
    labels = np.full(batch, 7) if is_supervised(case) else None
    repeated = as_float(charge(case, np.repeat(sample, batch, axis=0), labels))
    np.testing.assert_allclose(repeated, exactly(case, sample), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", own.values(), ids=own)
@pytest.mark.parametrize("batch", [1, 16])
def test_as_activity_regularizer_it_is_the_same_or_refused(case, batch):
    repeated = np.repeat(code_of(case, rows=1), batch, axis=0)
    layer = keras.layers.Activation("linear", activity_regularizer=case.make())
    if is_supervised(case) or case.make().momentum is not None:
        with pytest.raises((TypeError, ValueError), match="activity_regularizer"):
            layer(repeated)
    else:
        layer(repeated)
        np.testing.assert_allclose(as_float(layer.losses[0]), exactly(case, repeated), rtol=1e-5, atol=1e-6)


@rows
def test_permuting_units_or_samples_leaves_it(case):
    code, random = code_of(case), np.random.default_rng(1)
    units, samples = random.permutation(UNITS), random.permutation(len(code))
    labels = labels_of(len(code))[samples] if is_supervised(case) else None
    permuted = as_float(charge(case, code[samples][..., units], labels))
    np.testing.assert_allclose(permuted, exactly(case, code), rtol=1e-5)


@rows
def test_a_silent_code_has_a_finite_value_and_finite_gradients(case):
    # Of all that is measured: nothing fires, -1 in the tanh range.
    code = np.full((8, *case.positions, UNITS), -1.0 if case.activation == "tanh" else 0.0, "float32")
    assert np.isfinite(as_float(charge(case, code)))
    assert np.isfinite(gradient(lambda x: charge(case, x), code)).all()


@rows
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(case, dtype):
    code = ops.cast(code_of(case, rows=2048), dtype)
    rounded = ops.convert_to_numpy(ops.cast(code, "float32"))
    np.testing.assert_allclose(as_float(charge(case, code)), exactly(case, rounded), rtol=1e-4)


@rows
@tensorflow_only
def test_compiled_by_xla_is_the_same(case):
    import tensorflow as tf

    code = tf.constant(code_of(case))
    objective = Objective({"code": [case.make()]}, {"code": (None, UNITS)})
    compiled = tf.function(lambda x: charge(case, x, objective=objective), jit_compile=True)(code)
    np.testing.assert_allclose(compiled, exactly(case, code.numpy()), rtol=1e-5)


@rows
def test_a_code_without_samples_costs_nothing(case):
    assert as_float(charge(case, code_of(case, rows=0))) == 0.0


@rows
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_do_not_hide(case, value):
    code = code_of(case, rows=8)
    code[(3, *(0 for _ in case.positions), 5)] = value
    assert not np.isfinite(as_float(charge(case, code)))


@rows
def test_a_code_where_all_is_equal(case):
    equal = np.full((8, *case.positions, UNITS), 0.25, "float32")
    np.testing.assert_allclose(as_float(charge(case, equal)), exactly(case, equal), rtol=1e-5, atol=1e-6)
