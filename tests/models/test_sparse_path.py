"""A model does not change because it is computed by the entries of its code."""

import contextlib
import gc

import keras
import numpy as np
import pytest

from keras_sae.layers import BatchKSparse, KSparse, MaskingNoise, SubtractMean
from keras_sae.metrics import L0
from keras_sae.models import DeepAutoencoder, DenseAutoencoder, SparseAutoencoder
from keras_sae.models._sparse_path import pays

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a path of TensorFlow alone")
INPUTS, UNITS, K = 6, 80, 3
X = np.random.default_rng(0).normal(1, 1, size=(12, INPUTS)).astype("float32")


def make(sparsity, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    model = DenseAutoencoder(INPUTS, UNITS, sparsity=sparsity, **arguments)
    if model.centers:
        model.adapt(X)
    return model


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def results(model, sparse, training, x=X):
    """Reconstruction, loss with penalties, and gradients of weights and input."""
    model.sparse_path = sparse
    if model.penalties and model.objective.silent is not None:  # which training changes
        model.objective.silent.assign(np.where(np.arange(UNITS) < 30, 5.0, 0.0))
    backend = keras.backend.backend()
    if backend == "jax":
        return _results_on_jax(model, training, x)
    x = keras.ops.convert_to_tensor(x)
    weights = [weight.value for weight in model.trainable_weights]

    def loss_of(outputs):
        return keras.ops.mean(keras.ops.square(keras.ops.cast(outputs, "float32") - x)) + sum(model.losses)

    if backend == "torch":
        import torch

        outputs = model(x.requires_grad_(), training=training)
        return [outputs, loss_of(outputs), *torch.autograd.grad(loss_of(outputs), [x, *weights])]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = model(x, training=training)
        loss = loss_of(outputs)
    return [outputs, loss, *tape.gradient(loss, [x, *weights])]


def _results_on_jax(model, training, x):
    import jax

    def loss_of(x, weights):
        state = [variable.value for variable in model.non_trainable_variables]
        outputs, state, losses = model.stateless_call(weights, state, x, training=training, return_losses=True)
        loss = keras.ops.mean(keras.ops.square(keras.ops.cast(outputs, "float32") - x)) + sum(losses)
        return loss, (outputs, state)

    weights = [weight.value for weight in model.trainable_weights]
    both = jax.value_and_grad(loss_of, (0, 1), has_aux=True)
    (loss, (outputs, state)), gradients = both(keras.ops.convert_to_tensor(x), weights)
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(value)
    return [outputs, loss, gradients[0], *gradients[1]]


def assert_same(model, training, tolerance=1e-5, x=X):
    taken = []
    model.sparse_path = True
    assert model._takes_sparse_path()
    for one, other in zip(*(results(model, sparse, training, x) for sparse in (True, False)), strict=True):
        np.testing.assert_allclose(as_numpy(one), as_numpy(other), rtol=tolerance, atol=tolerance)
        taken.append(np.abs(as_numpy(one)).max())
    assert min(taken) > 0  # every gradient is there


in_every_precision = pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        ("float32", 1e-5),
        pytest.param("mixed_bfloat16", 4e-2, marks=pytest.mark.slow),
        pytest.param("mixed_float16", 5e-3, marks=pytest.mark.slow),
    ],
)


@pytest.mark.parametrize("select_by", ["value", "magnitude"])
@pytest.mark.parametrize("alpha", [1, 2.5])
@pytest.mark.parametrize("tied", [False, True])
@in_every_precision
def test_values_and_gradients_are_those_of_the_layers(select_by, alpha, tied, dtype, tolerance):
    model = make(KSparse(K, alpha=alpha, select_by=select_by), tied=tied, dtype=dtype, unit_norm=alpha == 1)
    for training in (True, False):
        assert_same(model, training, tolerance)


@on_tensorflow
@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("tied", [False, True])
@in_every_precision
def test_a_batch_that_selects_together(activation, tied, dtype, tolerance):
    model = make([BatchKSparse(K), keras.regularizers.L1(0.1)], activation=activation, tied=tied, dtype=dtype)
    for training in (True, False):
        assert_same(model, training, tolerance)


@on_tensorflow
@pytest.mark.parametrize("current", [1, 5, 40, 80])
def test_a_batch_keeps_the_current_k_and_moves_its_threshold(current):
    thresholds = []
    for sparse in (True, False):
        model = make(BatchKSparse(K, momentum=0.5))
        selection = model.selections[0]
        for k, x in ((K, X), (current, X[:7])):
            selection.current_k.assign(k)
            reconstruction = results(model, sparse, True, x)
        thresholds.append([*reconstruction, selection.threshold])
        model.encoder.trainable = False  # a frozen selection selects as at inference
        assert_same(model, True)
        np.testing.assert_array_equal(selection.threshold, thresholds[-1][-1])
    for one, other in zip(*thresholds, strict=True):
        np.testing.assert_allclose(as_numpy(one), as_numpy(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threshold", [-np.inf, -1.0, 0.5, 100.0])
def test_a_threshold_that_keeps_few_or_many_entries(threshold):
    model = make(BatchKSparse(K))
    model.selections[0].threshold.assign(threshold)
    for one, other in zip(*(results(model, sparse, False) for sparse in (True, False)), strict=True):
        np.testing.assert_allclose(as_numpy(one), as_numpy(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("current", [1, 2, 5, 12, 13, 80])
@pytest.mark.parametrize("select_by", ["value", "magnitude"])
def test_training_keeps_the_current_k(current, select_by):
    model = make([KSparse(K, select_by=select_by), keras.regularizers.L1(0.1)], tied=True)
    model.selections[0].current_k.assign(current)
    assert_same(model, True)
    assert_same(model, False)


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("select_by", ["value", "magnitude"])
def test_activations_that_the_path_computes(activation, select_by):
    # Of 80 units about 40 are positive, so the layer keeps zeros too where k is 60.
    for k in (K, 60):
        assert_same(make([KSparse(k, select_by=select_by), keras.regularizers.L2(0.1)], activation=activation), True)


@pytest.mark.parametrize("arguments", [{"output_activation": "sigmoid"}, {"center": False}, {"kernel_regularizer": "l2"}])
def test_arguments_of_models(arguments):
    assert_same(make(KSparse(K), **arguments), True)


def test_deep_models_and_penalties_of_other_levels():
    keras.utils.set_random_seed(0)
    sparsity = {"level_1": keras.regularizers.L1(0.1), "code": [KSparse(K), keras.regularizers.L1(0.1)]}
    model = DeepAutoencoder(INPUTS, [9], UNITS, sparsity=sparsity, tied=True)
    model.adapt(X)
    assert_same(model, True)


def test_pictures_and_models_of_ones_own():
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((2, 3)), SubtractMean(), keras.layers.Flatten(), keras.layers.Dense(UNITS)])
    decoder = keras.Sequential(
        [keras.Input((UNITS,)), keras.layers.Dense(INPUTS, use_bias=False), keras.layers.Reshape((2, 3))]
    )
    model = SparseAutoencoder(encoder, decoder, sparsity=KSparse(K))
    model.adapt(X.reshape(-1, 2, 3))
    assert_same(model, True, x=X.reshape(-1, 2, 3))


@pytest.mark.parametrize("selection", [KSparse, BatchKSparse])
@pytest.mark.parametrize("training", [True, False])
def test_a_nan_makes_the_same_entries_nan(training, selection):
    x = X.copy()
    x[3] = np.nan
    model = make([selection(K), keras.regularizers.L1(0.1)])
    model(X, training=True)
    for one, other in zip(*(results(model, sparse, training, x)[:2] for sparse in (True, False)), strict=True):
        np.testing.assert_allclose(as_numpy(one), as_numpy(other), rtol=1e-5, atol=1e-5)
    kernel = model.encoder.get_layer("encode").kernel  # one unit is NaN for each sample
    kernel.assign(np.where(np.arange(UNITS) == 4, np.nan, kernel.numpy()))
    for one, other in zip(*(results(model, sparse, training)[:2] for sparse in (True, False)), strict=True):
        np.testing.assert_array_equal(as_numpy(one), as_numpy(other))


@pytest.mark.parametrize("selection", [KSparse, BatchKSparse])
def test_a_batch_of_no_samples(selection):
    model = make(selection(K))
    model.sparse_path = True
    for training in (True, False):
        assert model(X[:0], training=training).shape == (0, INPUTS)


def fitted(sparse, selection, x=X, **arguments):
    model = make([selection, keras.regularizers.L1(0.01)], corruption=MaskingNoise(0.2, seed=1), tied=True)
    model.sparse_path = sparse
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=[L0()], **arguments)
    model.selections[0].current_k.assign(5)
    logs = model.fit(x, batch_size=5, epochs=2, shuffle=False, validation_data=(x,), verbose=0).history
    return logs, model.predict(x, verbose=0), model.get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("make_selection", [lambda: KSparse(K, alpha=2), lambda: BatchKSparse(K)], ids=["k", "batch"])
def test_fit_evaluate_and_predict_are_the_same(make_selection):
    (logs, predicted, weights), (logs_2, predicted_2, weights_2) = (fitted(each, make_selection()) for each in (True, False))
    assert logs.keys() == logs_2.keys()
    for name in logs:
        np.testing.assert_allclose(logs[name], logs_2[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(predicted, predicted_2, rtol=1e-5, atol=1e-5)
    for one, other in zip(weights, weights_2, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("selection", [KSparse, pytest.param(BatchKSparse, marks=pytest.mark.slow)])
def test_a_step_in_a_graph_is_the_same(selection):
    steps = []
    for sparse in (True, False):
        model = make(selection(K), tied=True)
        model.sparse_path = sparse
        model.compile(keras.optimizers.SGD(0.1), "mse")
        steps.append([model.train_on_batch(X), *model.get_weights()])
    for one, other in zip(*steps, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("make_selection", [lambda: KSparse(K), lambda: BatchKSparse(K, synchronized=True)], ids=["k", "batch"])
def test_two_replicas_train_as_one_device(two_replicas, make_selection):
    weights = []
    for strategy, sparse in ((None, False), (two_replicas, True)):
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = make([make_selection(), keras.regularizers.L1(0.01)], tied=True)
            model.sparse_path = sparse
            model.compile("adam", "mse", metrics=[L0()])
        model.fit(X, batch_size=4, epochs=2, shuffle=False, verbose=0)
        weights.append([keras.ops.convert_to_numpy(weight) for weight in model.weights])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@on_tensorflow
def test_under_xla_layers_run_as_they_are():
    model = make(KSparse(K))
    model.compile("adam", "mse", jit_compile=True)
    model.sparse_path = True
    assert not model._takes_sparse_path()


def changed(change):
    model = make(KSparse(K), tied=change == "tied_to_quantized")
    encode, decode = model.encoder.get_layer("encode"), model.decoder.get_layer("decode")
    if change == "lora":
        encode.enable_lora(2)
    elif change == "quantized":
        decode.quantize("int8")
    elif change == "tied_to_quantized":
        encode.quantize("int8")
    elif change == "charged":
        decode.activity_regularizer = keras.regularizers.L1(1.0)
    return model


@pytest.mark.parametrize("change", ["lora", "quantized", "tied_to_quantized", "charged"])
def test_layers_that_were_changed_run_as_they_are(change):
    model = changed(change)
    model.sparse_path = True
    assert not model._takes_sparse_path()


@pytest.mark.parametrize(
    "arguments",
    [
        {"sparsity": None},
        {"sparsity": [KSparse(K), KSparse(2)]},
        {"sparsity": KSparse(K), "activation": "tanh"},
        {"sparsity": {"encode": keras.regularizers.L1(0.1), "code": KSparse(K)}},
        {"sparsity": KSparse(K, dtype="float16")},
    ],
)
def test_other_models_run_by_their_layers(arguments):
    model = DenseAutoencoder(INPUTS, UNITS, **arguments)
    model.sparse_path = True
    assert not model._takes_sparse_path()


def test_freezing_and_the_final_k_of_a_frozen_selection():
    model = make(KSparse(K))
    model.selections[0].current_k.assign(9)
    model.encoder.trainable = False
    assert_same(model, True)


def test_the_default_follows_the_sizes_in_the_models_own_steps():
    assert pays(4096, 32)
    assert not pays(1000, 25)
    on_jax = keras.backend.backend() == "jax"
    assert pays(1000, 25, training=True) != on_jax
    assert not pays(1000, 26, training=True)
    assert not pays(4096, 100)
    assert pays(4096, 32, training=True, batch=512)
    assert pays(4096, 32, training=True, batch=511) != on_jax
    model = DenseAutoencoder(2, 1024, sparsity=KSparse(8))
    assert model.sparse_path is None
    assert not model._takes_sparse_path()  # in a call from outside
    with model._own_step():
        assert model._takes_sparse_path()
        model.sparse_path = False
        assert not model._takes_sparse_path()


def test_the_default_needs_many_units():
    model = DenseAutoencoder(2, 999, sparsity=KSparse(8))
    with model._own_step():
        assert not model._takes_sparse_path()


def test_sparse_path_takes_three_values():
    with pytest.raises(ValueError, match="sparse_path"):
        make(KSparse(K)).sparse_path = "always"


def test_a_model_saved_on_one_path_loads_on_the_other(tmp_path):
    model = make(KSparse(K))
    model.sparse_path = True
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.sparse_path is None
    np.testing.assert_allclose(as_numpy(model(X)), as_numpy(loaded(X)), rtol=1e-5, atol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("selection", [KSparse, BatchKSparse])
@pytest.mark.parametrize("k", [8, 200])
def test_xla_is_left_out_of_wide_codes(selection, k):
    model = DenseAutoencoder(2, 1000, sparsity=selection(k))
    with pytest.warns(UserWarning, match="jit_compile=True"):
        model.compile("adam", "mse", jit_compile=True)
    assert not model.jit_compile  # which training, evaluation and prediction read
    assert not model.selections[0].in_one_graph
    model.sparse_path = False
    model.compile("adam", "mse", jit_compile=True)
    assert model.jit_compile


def test_xla_compiles_narrow_codes():
    model = DenseAutoencoder(2, 999, sparsity=KSparse(8))
    model.compile("adam", "mse", jit_compile=True)
    assert model.jit_compile


@on_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("selection", [KSparse, BatchKSparse])
def test_steps_hold_less_in_memory_than_with_dense_codes(selection):
    import tensorflow as tf

    x = tf.constant(np.random.default_rng(0).normal(size=(512, 64)).astype("float32"))
    try:
        tf.config.experimental.reset_memory_stats("CPU:0")
    except ValueError:
        pytest.skip("this TensorFlow does not count the memory of a CPU")
    peaks = []
    for sparse in (True, False):
        gc.collect()
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        model = DenseAutoencoder(64, 4096, sparsity=selection(32))
        model.sparse_path = sparse
        model.compile("adam", "mse")
        model.adapt(x)
        model.train_on_batch(x)
        tf.config.experimental.reset_memory_stats("CPU:0")
        model.train_on_batch(x)
        peaks.append(tf.config.experimental.get_memory_info("CPU:0")["peak"] - before)
        del model
    assert peaks[0] < 0.9 * peaks[1]
