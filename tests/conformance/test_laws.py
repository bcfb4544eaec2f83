"""Laws that every public mechanism obeys."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from mechanisms import OTHERS, PENALTIES, SELECTIONS, UNITS

from keras_sae import layers, regularizers
from keras_sae.models import DenseAutoencoder

RNG = np.random.default_rng(0)

selections = pytest.mark.parametrize("case", SELECTIONS.values(), ids=SELECTIONS)
penalties = pytest.mark.parametrize("case", PENALTIES.values(), ids=PENALTIES)
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses GradientTape or XLA of TensorFlow")


def code_of(case, rows=32, dtype="float32"):
    low, high = getattr(case, "low", -1.0), getattr(case, "high", 1.0)
    return RNG.uniform(low, high, (rows, UNITS)).astype(dtype)


def as_numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def test_every_public_mechanism_has_a_row():
    public = {*layers.__all__, *regularizers.__all__} - OTHERS
    assert public == {row.split()[0] for row in (*SELECTIONS, *PENALTIES)}


@selections
@pytest.mark.parametrize("code", ["random", "equal", "zero", "rectified"])
def test_a_selection_keeps_no_more_than_it_says(case, code):
    x = {
        "random": code_of(case),
        "equal": np.full((5, UNITS), 0.5, "float32"),
        "zero": np.zeros((5, UNITS), "float32"),
        "rectified": np.maximum(code_of(case) - 0.5, 0),
    }[code]
    layer = case.make()
    for training, kept in ((False, case.kept), (True, case.kept_in_training)):
        selected = as_numpy(layer(x, training=training))
        assert (np.count_nonzero(selected, axis=-1) <= kept).all()
        np.testing.assert_array_equal(selected[selected != 0], x[selected != 0])


@selections
def test_permuting_units_permutes_the_selection(case):
    x, order = code_of(case), RNG.permutation(UNITS)
    layer = case.make()
    np.testing.assert_array_equal(as_numpy(layer(x[:, order])), as_numpy(layer(x))[:, order])


@penalties
def test_a_penalty_equals_its_closed_form(case):
    x = code_of(case)
    np.testing.assert_allclose(as_numpy(case.make().penalty(x)), case.closed_form(x.astype("float64")), rtol=1e-5)


@penalties
@pytest.mark.parametrize("batch", [1, 16, 64])
def test_a_penalty_ignores_the_batch_size(case, batch):
    row = code_of(case, rows=1)
    repeated = np.repeat(row, batch, axis=0)
    np.testing.assert_allclose(as_numpy(case.make().penalty(repeated)), as_numpy(case.make().penalty(row)), rtol=1e-5)
    layer = keras.layers.Activation("linear", activity_regularizer=case.make())
    layer(repeated)
    np.testing.assert_allclose(as_numpy(layer.losses[0]), as_numpy(case.make().penalty(row)), rtol=1e-5)


@penalties
def test_permuting_units_leaves_a_penalty(case):
    x = code_of(case)
    permuted = case.make().penalty(x[:, RNG.permutation(UNITS)])
    np.testing.assert_allclose(as_numpy(permuted), as_numpy(case.make().penalty(x)), rtol=1e-5)


@tensorflow_only
@penalties
def test_gradients_of_a_penalty_equal_finite_differences(case):
    import tensorflow as tf

    x = code_of(case, rows=4, dtype="float64")
    with tf.GradientTape() as tape:
        variable = tf.constant(x)
        tape.watch(variable)
        value = case.make().penalty(variable)
    gradient = tape.gradient(value, variable).numpy()
    step = 1e-6
    for row, unit in [(0, 0), (1, 5), (3, 11)]:
        above, below = x.copy(), x.copy()
        above[row, unit] += step
        below[row, unit] -= step
        numeric = (float(case.make().penalty(above)) - float(case.make().penalty(below))) / (2 * step)
        np.testing.assert_allclose(gradient[row, unit], numeric, rtol=1e-5, atol=1e-8)


@tensorflow_only
@penalties
def test_gradients_are_finite_where_nothing_fires(case):
    import tensorflow as tf

    x = tf.zeros((8, UNITS))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = case.make().penalty(x)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, x)).all()


@penalties
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_penalty_is_finite_in_half_precision(case, dtype):
    x = ops.cast(code_of(case, rows=2048), dtype)
    exact = case.make().penalty(as_numpy(x))
    np.testing.assert_allclose(as_numpy(case.make().penalty(x)), as_numpy(exact), rtol=1e-4)


@tensorflow_only
@penalties
def test_a_penalty_compiled_by_xla_is_the_same(case):
    import tensorflow as tf

    x = code_of(case)
    compiled = tf.function(case.make().penalty, jit_compile=True)(tf.constant(x))
    np.testing.assert_allclose(as_numpy(compiled), as_numpy(case.make().penalty(x)), rtol=1e-5)


@tensorflow_only
@selections
@pytest.mark.parametrize("training", [False, True])
def test_a_selection_compiled_by_xla_is_the_same(case, training):
    import tensorflow as tf

    x = tf.constant(code_of(case))
    layer = case.make()
    expected = as_numpy(layer(x, training=training))
    compiled = tf.function(lambda code: layer(code, training=training), jit_compile=True)(x)
    np.testing.assert_array_equal(as_numpy(compiled), expected)


@pytest.mark.parametrize("case", [*SELECTIONS.values(), *PENALTIES.values()], ids=[*SELECTIONS, *PENALTIES])
def test_config_and_a_keras_file_bring_a_mechanism_back(case, tmp_path):
    mechanism = case.make()
    config = keras.saving.serialize_keras_object(mechanism)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(mechanism)
    assert again.get_config() == mechanism.get_config()
    model = DenseAutoencoder(6, UNITS, sparsity=mechanism)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = RNG.uniform(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(as_numpy(loaded(x)), as_numpy(model(x)), rtol=1e-6)
    assert [type(penalty) for penalty in loaded.penalties] == [type(penalty) for penalty in model.penalties]


@pytest.mark.parametrize("case", [*SELECTIONS.values(), *PENALTIES.values()], ids=[*SELECTIONS, *PENALTIES])
def test_a_model_with_it_is_its_decoder_after_its_encoder_and_carries_no_loss(case):
    model = DenseAutoencoder(6, UNITS, sparsity=case.make())
    for rows in (1, 5):
        x = RNG.uniform(size=(rows, 6)).astype("float32")
        np.testing.assert_allclose(as_numpy(model(x)), as_numpy(model.decoder(model.encoder(x))), rtol=1e-6)
    assert model.encoder.losses == []


def test_values_on_another_backend_are_the_same(in_fresh_process, tmp_path):
    """The same inputs give the same values on JAX and on PyTorch, where they are installed."""
    import importlib.util

    backends = [name for name in ("jax", "torch") if importlib.util.find_spec(name) and name != keras.backend.backend()]
    if not backends:
        pytest.skip("needs another backend: pip install jax, or torch")
    expected = {}
    rows = [*SELECTIONS.items(), *PENALTIES.items()]
    for name, case in rows:
        x = (
            np.random.default_rng(1)
            .uniform(getattr(case, "low", -1.0), getattr(case, "high", 1.0), (32, UNITS))
            .astype("float32")
        )
        expected[name] = as_numpy(case.make()(x)), as_numpy(case.make()(x, training=True)) if name in SELECTIONS else 0
    np.savez(tmp_path / "expected.npz", **{f"{name}/{i}": value[i] for name, value in expected.items() for i in (0, 1)})
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from keras import ops
from mechanisms import PENALTIES, SELECTIONS, UNITS
stored = np.load(sys.argv[2])
for name, case in [*SELECTIONS.items(), *PENALTIES.items()]:
    x = np.random.default_rng(1).uniform(getattr(case, "low", -1.0), getattr(case, "high", 1.0), (32, UNITS)).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(case.make()(x)), stored[f"{name}/0"], rtol=1e-5)
    if name in SELECTIONS:
        np.testing.assert_allclose(ops.convert_to_numpy(case.make()(x, training=True)), stored[f"{name}/1"], rtol=1e-5)
"""
    for backend in backends:
        in_fresh_process(code, Path(__file__).parent, tmp_path / "expected.npz", KERAS_BACKEND=backend)
