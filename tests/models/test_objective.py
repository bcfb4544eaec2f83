import contextlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import KSparse
from keras_sae.metrics import L0, PSNR, DeadUnits, ExplainedVariance, HoyerSparsity, MeanRate, Rates
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.models._objective import Objective
from keras_sae.regularizers import ActivityKL, ActivityTargetL2

X = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


# A running mean of rates


def test_a_running_mean_by_hand():
    objective = Objective({"code": [ActivityTargetL2(0.0, momentum=0.5)]}, {"code": (None, 1)})
    rates = []
    for code in ([[1.0]], [[3.0], [3.0]], [[0.0]]):
        value = objective.values({"code": np.array(code, "float32")}, None, training=True)[0][0]
        rates.append(float(value) ** 0.5)
    # Sums 1, 0.5 + 6, 3.25 + 0 over 1, 0.5 + 2, 1.25 + 1 positions: large batches count for more.
    np.testing.assert_allclose(rates, [1, 6.5 / 2.5, 3.25 / 2.25], rtol=1e-6)


def test_evaluation_measures_its_own_batch_and_leaves_the_running_mean():
    objective = Objective({"code": [ActivityTargetL2(0.0, momentum=0.5)]}, {"code": (None, 1)})
    objective.values({"code": np.array([[1.0]], "float32")}, None, training=True)
    before = as_numpy(objective.running[0]).copy()
    value = objective.values({"code": np.array([[3.0]], "float32")}, None, training=False)[0][0]
    assert float(value) == 9.0
    np.testing.assert_array_equal(as_numpy(objective.running[0]), before)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="GradientTape is TensorFlow's")
def test_the_gradient_of_a_running_mean_is_that_of_the_batch_and_not_scaled_down():
    import tensorflow as tf

    objective = Objective({"code": [ActivityTargetL2(0.0, momentum=0.9)]}, {"code": (None, 2)})
    objective.values({"code": np.array([[1.0, 2.0]], "float32")}, None, training=True)
    code = tf.constant([[3.0, 0.0], [5.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(code)
        value = objective.values({"code": code}, None, training=True)[0][0]
    mean = (0.9 * np.array([1, 2]) + [8, 4]) / 2.9
    np.testing.assert_allclose(value, np.square(mean).sum(), rtol=1e-6)
    # d(rate^2)/d(rate) at the running mean, times d(rate of the batch)/d(entry), which is 1/2 and not 1/2.9.
    np.testing.assert_allclose(tape.gradient(value, code), np.tile(2 * mean / 2, (2, 1)), rtol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_a_running_mean_is_saved_and_restored(tmp_path):
    model = DenseAutoencoder(12, 8, sparsity=ActivityKL(0.1, momentum=0.9))
    model.compile("sgd", "mse")
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(as_numpy(again.objective.running[0]), as_numpy(model.objective.running[0]))
    assert as_numpy(again.objective.running[0])[-1] == 32 + 0.9 * 32


def test_a_running_mean_scatters_less_than_the_means_of_small_batches():
    codes = np.random.default_rng(1).uniform(size=(200, 4, 6)).astype("float32")
    values = {}
    for momentum in (None, 0.95):
        objective = Objective({"code": [ActivityKL(0.5, momentum=momentum)]}, {"code": (None, 6)})
        values[momentum] = np.mean([float(objective.values({"code": code}, None, True)[0][0]) for code in codes][50:])
    # The rates are on target: what is charged comes from the scatter of small batches alone.
    assert values[0.95] < values[None] / 10


# Several codes


def deep(sparsity):
    encoder = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(10, activation="sigmoid", name="hidden"),
            keras.layers.Dense(8, activation="sigmoid"),
        ]
    )
    decoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(12)])
    model = SparseAutoencoder(encoder, decoder, sparsity=sparsity)
    model.compile("sgd", "mse")
    return model


def test_each_code_is_charged_by_its_own_penalties():
    model = deep({"hidden": ActivityKL(0.1, 0.5), "code": [KSparse(3), keras.regularizers.L1(0.2), ActivityKL(0.2)]})
    logs = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)
    hidden = as_numpy(keras.Model(model.encoder.inputs[0], model.encoder.get_layer("hidden").output)(X))
    code = as_numpy(model.encoder(X))
    np.testing.assert_allclose(logs["hidden_activity_kl"], float(ActivityKL(0.1, 0.5).penalty(hidden)), rtol=1e-5)
    np.testing.assert_allclose(logs["activity_kl"], float(ActivityKL(0.2).penalty(code)), rtol=1e-5)
    np.testing.assert_allclose(logs["l1"], 0.2 * np.abs(code).sum(axis=1).mean(), rtol=1e-5)
    charged = logs["hidden_activity_kl"] + logs["activity_kl"] + logs["l1"]
    np.testing.assert_allclose(logs["loss"], logs["reconstruction_loss"] + charged, rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_several_codes_are_saved_and_restored(tmp_path):
    model = deep({"hidden": ActivityKL(0.1, 0.5), "code": [KSparse(3), keras.regularizers.L1(0.2)]})
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert list(again.penalties_by_code) == ["hidden", "code"]
    assert again.evaluate(X, return_dict=True, verbose=0) == pytest.approx(
        model.evaluate(X, return_dict=True, verbose=0), rel=1e-5
    )


def test_a_code_of_no_such_name_is_refused():
    with pytest.raises(ValueError, match=r"the layers are .*hidden"):
        deep({"hiden": ActivityKL(0.1)})
    with pytest.raises(ValueError, match="To select elsewhere, build an encoder"):
        deep({"hidden": KSparse(2)})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_all_sums_travel_in_one_all_reduce(two_replicas, monkeypatch):
    from keras_sae.models import _objective as module

    calls = []
    once = module.sum_over_replicas
    monkeypatch.setattr(module, "sum_over_replicas", lambda tensor: calls.append(tensor.shape) or once(tensor))
    with two_replicas.scope():
        model = deep({"hidden": [ActivityKL(0.1), keras.regularizers.L2(0.1)], "code": ActivityKL(0.1, sparsity="population")})
    model.fit(X, batch_size=64, verbose=0)
    # Two counts of positions and one of samples, ten rates, and two scalars; once for each replica and tracing of the step.
    assert set(map(tuple, calls)) == {(15,)}
    assert len(calls) <= 4


# Metrics of the code


@pytest.mark.usefixtures("eagerly")
def test_metrics_of_the_code_and_of_the_reconstruction_are_compiled_together():
    model = DenseAutoencoder(12, 8, sparsity=KSparse(2, alpha=2))
    model.compile(
        "sgd", "mse", metrics=[L0(), "mae", MeanRate(), DeadUnits(), Rates(), HoyerSparsity(), PSNR(), ExplainedVariance()]
    )
    history = model.fit(X, verbose=0).history
    assert history["l0"] == [2.0]  # as selected for training
    logs = model.evaluate(X, return_dict=True, verbose=0)
    code, reconstruction = model.encoder.predict(X, verbose=0), model.predict(X, verbose=0)
    assert logs["l0"] == 4.0  # as at inference
    np.testing.assert_allclose(logs["mean_rate"], code.mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["rates"], code.mean(axis=0), rtol=1e-4, atol=1e-7)
    assert logs["dead_units"] == (code == 0).all(axis=0).sum()
    np.testing.assert_allclose(logs["mae"], np.abs(X - reconstruction).mean(), rtol=1e-5)
    explained = 1 - np.square(X - reconstruction).sum() / np.square(X - X.mean(axis=0)).sum()
    np.testing.assert_allclose(logs["explained_variance"], explained, rtol=1e-4)
    np.testing.assert_allclose(logs["psnr"], (-10 * np.log10(np.square(X - reconstruction).mean(axis=1))).mean(), rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_metrics_of_the_code_come_back_with_a_saved_model_and_go_with_another_compile(tmp_path):
    model = DenseAutoencoder(12, 8, sparsity=KSparse(2))
    model.compile("sgd", "mse", metrics=[L0(threshold=0.5), "mae"])
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(X, return_dict=True, verbose=0) == pytest.approx(
        model.evaluate(X, return_dict=True, verbose=0), rel=1e-5
    )
    model.compile("sgd", "mse", metrics=L0())
    assert model.evaluate(X, return_dict=True, verbose=0)["l0"] == 2.0
    model.compile("sgd", "mse")
    assert "l0" not in model.evaluate(X, return_dict=True, verbose=0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_metrics_of_the_code_are_those_of_the_whole_batch_under_replicas(two_replicas):
    logs = []
    for strategy in (None, two_replicas):
        keras.utils.set_random_seed(3)
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = DenseAutoencoder(12, 8, sparsity=ActivityKL(0.1), activation="sigmoid")
            model.compile("sgd", "mse", metrics=[MeanRate(), Rates(), DeadUnits(threshold=0.5), PSNR(), ExplainedVariance()])
        logs.append(model.evaluate(X, batch_size=32, return_dict=True, verbose=0))
    for name, value in logs[0].items():
        np.testing.assert_allclose(logs[1][name], value, rtol=1e-5, err_msg=name)
