"""Laws that a model with any mechanism obeys."""

import dataclasses
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from mechanisms import EAGERLY, MECHANISMS, OTHERS, PENALTIES, SELECTIONS, inputs_of, labels_of, model_of

from keras_sae import layers, regularizers

rows = pytest.mark.parametrize("case", MECHANISMS.values(), ids=MECHANISMS)
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow: tf.distribute, XLA")


def _shared():
    """The cases of `MECHANISMS`, where penalties on codes of one kind share a model, and so the time to trace its graphs."""
    kinds = {}
    for name, case in PENALTIES.items():
        kinds.setdefault((case.activation, case.positions), {})[name] = case
    for cases in kinds.values():
        first = next(iter(cases.values()))
        kind = dataclasses.replace(first, make=lambda cases=cases: [case.make() for case in cases.values()])
        yield " and ".join(cases), kind
    yield from SELECTIONS.items()


SHARED = dict(_shared())


def as_numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def test_every_public_mechanism_has_a_row():
    public = {*layers.__all__, *regularizers.__all__} - OTHERS
    assert public == {name.split()[0] for name in MECHANISMS} - {"L1", "L2"}


@rows
def test_config_holds_every_argument(case):
    mechanism = case.make()
    config = mechanism.get_config()
    for name in set(inspect.signature(type(mechanism).__init__).parameters) - {"self", "kwargs"}:
        assert config[name] == getattr(mechanism, name), name


@rows
def test_config_brings_a_mechanism_back(case):
    mechanism = case.make()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mechanism))
    assert type(again) is type(mechanism)
    assert again.get_config() == mechanism.get_config()


@rows
def test_a_model_is_its_decoder_after_its_encoder_and_the_encoder_carries_no_loss(case):
    model = model_of(case)
    for count in (1, 5) if case.positions else (0, 1, 5):  # TensorFlow's convolutions take no empty batch on a CPU
        x, _ = inputs_of(case, count)
        np.testing.assert_allclose(as_numpy(model(x)), as_numpy(model.decoder(model.encoder(x))), rtol=1e-5, atol=1e-6)
    assert model.encoder.losses == []
    assert model.losses == []


@pytest.mark.parametrize("name", [name for name, case in SHARED.items() if case.global_batch])
@tensorflow_only
def test_two_replicas_train_as_one_device_does(name, two_replicas):
    import tensorflow as tf

    case = SHARED[name]
    x, _ = inputs_of(case)
    x = np.tile(x, (5, *[1] * (x.ndim - 1)))

    def run(strategy, run_eagerly):
        keras.utils.set_random_seed(1)
        with strategy.scope():
            model = model_of(case)
            optimizer = keras.optimizers.SGD(0.02, momentum=0.9)
            model.compile(optimizer, "mse", metrics=["mae"], run_eagerly=run_eagerly)  # one graph less to trace
        y = labels_of(len(x)) if model.supervised else None
        history = model.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)  # 10 steps
        assert ops.convert_to_numpy(model.optimizer.iterations) == 10
        return history.history, model.get_weights()

    (one, weights), (two, others) = run(tf.distribute.get_strategy(), True), run(two_replicas, False)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, err_msg=name)
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(other, weight, rtol=1e-5, atol=1e-6)


@rows
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_stays_finite_at_a_batch_of_2048(case, dtype):
    model = model_of(case, dtype)
    model.compile("adam", "mse", run_eagerly=EAGERLY)
    x, labels = inputs_of(case, 2048)
    x *= 16  # so that a sum over the batch does not fit into float16
    logs = model.train_on_batch(x, labels, return_dict=True)
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize("name", [name for name in SHARED if not name.endswith("of maps")])  # those are compiled apart
@tensorflow_only
def test_a_step_compiled_by_xla_is_the_same(name):
    case = SHARED[name]
    x, _ = inputs_of(case)
    results = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(2)
        model = model_of(case)
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=jit_compile, run_eagerly=not jit_compile)
        labels = labels_of(len(x)) if model.supervised else None
        logs = model.train_on_batch(x, labels, return_dict=True)
        results.append((logs, model.get_weights()))
    for name, value in results[0][0].items():
        np.testing.assert_allclose(results[1][0][name], value, rtol=1e-5, err_msg=name)
    for plain, compiled in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)


def test_keras_files_keep_everything_in_a_fresh_process(tmp_path, in_fresh_process):
    arrays = {}
    for index, case in enumerate(MECHANISMS.values()):
        model = model_of(case)
        model.compile("sgd", "mse", run_eagerly=EAGERLY)
        x, labels = inputs_of(case)
        model.train_on_batch(x, labels)
        model.save(tmp_path / f"{index}.keras")
        loss = model.test_on_batch(x, labels)
        arrays |= {f"{index}/outputs": as_numpy(model(x)), f"{index}/loss": np.asarray(loss), f"{index}/x": x}
        arrays |= {f"{index}/weight {i}": weight for i, weight in enumerate(model.get_weights())}
        if labels is not None:
            arrays[f"{index}/labels"] = labels
    np.savez(tmp_path / "expected.npz", **arrays)
    in_fresh_process(
        """
import sys
import keras, numpy as np
import keras_sae
stored = np.load(sys.argv[1] + "/expected.npz")
for index in range(int(sys.argv[2])):
    model = keras.models.load_model(f"{sys.argv[1]}/{index}.keras")
    x, labels = stored[f"{index}/x"], stored[f"{index}/labels"] if f"{index}/labels" in stored else None
    model.run_eagerly = keras.backend.backend() != "jax"
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_array_equal(weight, stored[f"{index}/weight {i}"])
    outputs = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(outputs, stored[f"{index}/outputs"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.test_on_batch(x, labels), stored[f"{index}/loss"], rtol=1e-5)
    assert int(model.optimizer.iterations) == 1
    model.train_on_batch(x, labels)
""",
        tmp_path,
        len(MECHANISMS),
        forked=True,
    )


def test_values_on_another_backend_are_the_same(in_fresh_process, tmp_path):
    """The same inputs give the same values on the backends of Keras that are installed."""
    import importlib.util

    installed = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
    backends = [name for name in installed if importlib.util.find_spec(name) and name != keras.backend.backend()]
    if not backends:
        pytest.skip("needs another backend: pip install jax, or torch")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import keras, numpy as np
from keras import ops
from mechanisms import PENALTIES, SELECTIONS, UNITS, code_of, is_supervised, labels_of
from keras_sae.models._objective import Objective

values = {}
for name, case in SELECTIONS.items():
    layer = case.make()
    for training in (True, False):
        values[f"{name} {training}"] = ops.convert_to_numpy(layer(code_of(case), training=training))
    values[f"{name} weights"] = np.asarray([float(weight) for weight in layer.get_weights()])
for name, case in PENALTIES.items():
    objective = Objective({"code": [case.make()]}, {"code": (None, UNITS)})
    labels = labels_of(32) if is_supervised(case) else None
    for step in range(2):  # so that a running mean has a past
        code = ops.convert_to_tensor(code_of(case, seed=step))
        values[f"{name} {step}"] = ops.convert_to_numpy(objective.values({"code": code}, labels, training=True)[0][0])
np.savez(sys.argv[2], **values)
"""
    results = []
    for backend in (keras.backend.backend(), *backends):
        in_fresh_process(code, Path(__file__).parent, tmp_path / f"{backend}.npz", KERAS_BACKEND=backend)
        results.append(np.load(tmp_path / f"{backend}.npz"))
    assert len(results[0].files) == 3 * len(SELECTIONS) + 2 * len(PENALTIES)
    for other in results[1:]:
        for name in results[0].files:
            np.testing.assert_allclose(other[name], results[0][name], rtol=1e-5, err_msg=name)
