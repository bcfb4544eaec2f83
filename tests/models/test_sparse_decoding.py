"""Penalties that need the decoder have the same values and gradients by the entries of a code as by its layers."""

import keras
import numpy as np
import pytest

from keras_sae.layers import BatchKSparse, KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.models._sparse_decoding import SparseDecoding
from keras_sae.regularizers import AuxiliaryK, NestedPrefixes, SeveralK

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="these entries are TensorFlow's")

INPUTS, UNITS, K = 6, 80, 3
X = np.random.default_rng(0).normal(1, 1, size=(12, INPUTS)).astype("float32")

PENALTIES = {
    "several_k": lambda: [SeveralK([1, 9])],
    "nested_prefixes": lambda: [NestedPrefixes([5, 40])],
    "auxiliary_k": lambda: [AuxiliaryK(3, dead_after=2)],
    "all": lambda: [SeveralK(9), NestedPrefixes(20), AuxiliaryK(3, dead_after=2), keras.regularizers.L1(0.1)],
}
SELECTIONS = {
    "k_sparse": lambda: KSparse(K),
    "by_magnitude": lambda: KSparse(K, select_by="magnitude", alpha=2),
    "batch_k_sparse": lambda: BatchKSparse(K),
}


def make(penalties, selection="k_sparse", current_k=K, dead=30, **arguments):
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(INPUTS, UNITS, sparsity=[SELECTIONS[selection](), *PENALTIES[penalties]()], **arguments)
    model.adapt(X)
    model.selections[0].current_k.assign(current_k)
    if model.objective.silent is not None:
        model.objective.silent.assign(np.where(np.arange(UNITS) < dead, 5.0, 0.0))
    return model


def results(model, sparse, training, sample_weight=None):
    """The parts of the loss, and the gradients of all weights."""
    import tensorflow as tf

    model.sparse_path = sparse
    model.compile("sgd", "mse")
    with tf.GradientTape() as tape, model._own_step():
        loss = model.compute_loss(X, X, model(X, training=training), sample_weight, training=training)
    parts = [metric.result() for metric in model.metrics if metric.name != "loss"]
    state = [] if model.objective.silent is None else [model.objective.silent]
    return [loss, *parts, *state, *tape.gradient(loss, [weight.value for weight in model.trainable_weights])]


def assert_same(make_model, training=True, tolerance=1e-5, **arguments):
    by_entries, by_layers = (results(make_model(), sparse, training, **arguments) for sparse in (True, False))
    for one, other in zip(by_entries, by_layers, strict=True):
        np.testing.assert_allclose(*(keras.ops.cast(each, "float32") for each in (one, other)), tolerance, tolerance)
    assert any(np.abs(gradient).max() > 0 for gradient in by_layers[-4:])


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("selection", [*SELECTIONS])
def test_values_and_gradients_are_those_of_the_layers(penalties, selection):
    assert_same(lambda: make(penalties, selection, tied=selection == "by_magnitude"))


@pytest.mark.slow
@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("current_k", [1, 5, 40, 80])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_also_while_k_anneals(penalties, selection, current_k, training, tied):
    assert_same(lambda: make(penalties, selection, current_k, tied=tied), training)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed_bfloat16", 6e-2), ("mixed_float16", 1e-2)])
@pytest.mark.parametrize("penalties", PENALTIES)
def test_in_half_precision(penalties, dtype, tolerance):
    assert_same(lambda: make(penalties, dtype=dtype), tolerance=tolerance)


def test_weights_of_samples():
    assert_same(lambda: make("all"), sample_weight=np.linspace(0, 1, len(X), dtype="float32"))


@pytest.mark.parametrize("dead", [0, 2])  # of the 3 that are to reconstruct
def test_few_units_are_dead(dead):
    assert_same(lambda: make("all", dead=dead))


def test_more_entries_than_pay():
    model = make("several_k")
    model.sparse_path = True
    with model._own_step():
        model(X, training=True)
        outputs, made = model._untracked.forward.last
    assert made["codes"]["code"].shape[-1] == 0  # nobody needs the dense code
    by_entries, by_layers = (
        SparseDecoding(model.current_path(), made["entries"], most, model.decoder, X, outputs, True).of_largest(5)
        for most in (5, 4)
    )
    np.testing.assert_allclose(by_entries, by_layers, rtol=1e-5, atol=1e-6)


def fitted(sparse, selection, current_k=K, strategy=None):
    import contextlib

    with strategy.scope() if strategy else contextlib.nullcontext():
        model = make("all", selection, current_k)
        model.sparse_path = sparse
        model.compile(keras.optimizers.SGD(0.05), "mse")
    data = X[:12]
    logs = model.fit(data, batch_size=4, epochs=2, shuffle=False, validation_data=(data,), verbose=0).history
    return model, [*logs.values(), *(keras.ops.convert_to_numpy(weight) for weight in model.weights)]


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["k_sparse", "batch_k_sparse"])
@pytest.mark.parametrize("current_k", [K, 5, 80])
def test_fit_and_evaluate_are_the_same(selection, current_k, tmp_path):
    (model, one), (_, other) = (fitted(sparse, selection, current_k) for sparse in (True, False))
    for each, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    logs, expected = (each.evaluate(X, return_dict=True, verbose=0) for each in (loaded, model))
    np.testing.assert_allclose(list(logs.values()), list(expected.values()), rtol=1e-5)


@pytest.mark.slow
def test_two_replicas_train_as_one_device(two_replicas):
    (_, one), (_, other) = (
        fitted(sparse, "k_sparse", strategy=strategy) for sparse, strategy in ((True, two_replicas), (False, None))
    )
    for each, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_replicas_that_select_apart(two_replicas):
    (_, one), (_, other) = (fitted(sparse, "batch_k_sparse", strategy=two_replicas) for sparse in (True, False))
    for each, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-5)
