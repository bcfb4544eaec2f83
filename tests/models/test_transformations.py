"""What the transformations of Keras do to an autoencoder: they keep it, or are refused before anything changes."""

import copy
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import KSparse, TiedDense
from keras_sae.models import DenseAutoencoder, SparseAutoencoder, StackedAutoencoder
from keras_sae.regularizers import ActivityKL, GroupL21

X = np.random.default_rng(0).uniform(size=(32, 12)).astype("float32")
EAGERLY = keras.backend.backend() != "jax"


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def compiled(model):
    model.compile("sgd", "mse", run_eagerly=EAGERLY)
    return model


@pytest.mark.parametrize("make", [lambda: ActivityKL(0.05, 5.0), lambda: keras.regularizers.L1(0.3)])
def test_inside_another_model_the_loss_is_what_it_is_alone(make):
    model = compiled(DenseAutoencoder(12, 8, make()))
    outer = compiled(keras.Sequential([keras.Input((12,)), keras.layers.Rescaling(1 / 255), model]))
    alone = model.evaluate(X, verbose=0)
    np.testing.assert_allclose(outer.evaluate(255 * X, X, verbose=0), alone[0] if isinstance(alone, list) else alone, rtol=1e-4)
    expected = copy.deepcopy(model)
    expected.fit(X, verbose=0)
    outer.fit(255 * X, X, verbose=0)
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)


def test_losses_hold_the_penalties_of_a_call_outside_the_models_own_steps():
    model = compiled(DenseAutoencoder(12, 8, [ActivityKL(0.1), keras.regularizers.L1(0.2)]))
    model.fit(X, verbose=0)
    assert model.losses == []
    model(X)  # inference
    assert model.losses == []
    model(X, training=True)
    values, *_ = model.objective.values({"code": model.encoder(X)}, None, False)
    np.testing.assert_allclose(
        [float(as_numpy(loss)) for loss in model.losses], [float(as_numpy(v)) for v in values], rtol=1e-5
    )
    model.encoder(X, training=True)
    assert model.encoder.losses == []


def test_compute_loss_after_a_call_counts_penalties_once_and_moves_running_means_once():
    model = compiled(DenseAutoencoder(12, 8, ActivityKL(0.1, momentum=0.5)))
    once = copy.deepcopy(model)
    loss = model.compute_loss(X, None, model(X, training=True), training=True)
    once.train_on_batch(X)
    np.testing.assert_allclose(as_numpy(loss), as_numpy(once.get_metrics_result()["loss"]), rtol=1e-5)
    np.testing.assert_allclose(as_numpy(model.objective.running[0]), as_numpy(once.objective.running[0]), rtol=1e-5)


def test_a_supervised_penalty_says_that_it_gets_no_labels_inside_another_model():
    model = DenseAutoencoder(12, 8, GroupL21(1.0))
    with pytest.warns(UserWarning, match="needs class labels"):
        model(X, training=True)
    compiled(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train_on_batch(X, np.arange(32) % 3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_inside_another_model_replicas_charge_their_shares_and_say_so(two_replicas):
    with two_replicas.scope():
        model = DenseAutoencoder(12, 8, keras.regularizers.L1(0.3))
        outer = keras.Sequential([keras.Input((12,)), model])
        outer.compile("sgd", "mse")
    alone = compiled(DenseAutoencoder(12, 8, keras.regularizers.L1(0.3)))
    alone.set_weights(model.get_weights())
    with pytest.warns(UserWarning, match="each replica's share"):
        loss = outer.fit(X, X, verbose=0).history["loss"]
    np.testing.assert_allclose(loss, alone.fit(X, verbose=0).history["loss"], rtol=1e-5)


def kernels_of(model):
    return [layer for layer in (*model.encoder.layers, *model.decoder.layers) if type(layer) is keras.layers.Dense]


QUANTIZED = ("int8", pytest.param("int4", marks=pytest.mark.slow), "float8")


@pytest.mark.parametrize("mode", QUANTIZED)
@pytest.mark.parametrize("tied", [True, False])
def test_quantized_models_reconstruct_and_are_the_same_in_every_copy(mode, tied, tmp_path):
    model = StackedAutoencoder(12, [10, 6], tied=tied)
    before = as_numpy(model(X))
    _quantize(model, mode)
    after = as_numpy(model(X))
    assert 0 < np.abs(after - before).max() < {"int8": 0.05, "int4": 0.5, "float8": 0.2}[mode] * np.abs(before).max()
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    again = [keras.models.load_model(tmp_path / "model.keras"), SparseAutoencoder.from_preset(tmp_path / "preset")]
    for copied in (*again, copy.deepcopy(model)):
        assert [layer.quantization_mode for layer in kernels_of(copied)] == [mode] * len(kernels_of(model))
        np.testing.assert_allclose(as_numpy(copied(X)), after, rtol=1e-5, atol=1e-6)


def _quantize(model, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of layers that stay as they are
        model.quantize(mode)


INT8, INT4 = keras.quantizers.Int8QuantizationConfig, keras.quantizers.Int4QuantizationConfig


@pytest.mark.parametrize("config", [INT8(), INT4(block_size=4), INT4(block_size=-1)], ids=["int8", "int4/4", "int4"])
@pytest.mark.parametrize("lora", [False, True])
def test_a_tied_layer_computes_with_the_kernel_that_the_encoder_computes_with(config, lora):
    encode = keras.layers.Dense(5, use_bias=False)
    encode.build((None, 12))
    before = as_numpy(encode.kernel).copy()
    encode.quantize(config=config)
    if lora:
        encode.enable_lora(2, lora_alpha=4, b_initializer="he_uniform")
    kernel = as_numpy(encode(np.eye(12, dtype="float32")))
    decoded = as_numpy(TiedDense(encode, use_bias=False)(np.eye(5, dtype="float32")))
    np.testing.assert_allclose(decoded.T, kernel, rtol=1e-5, atol=1e-5)
    assert (kernel != before).any()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("quantized", [False, True])
def test_lora_trains_and_is_kept(tied, quantized, tmp_path):
    model = DenseAutoencoder(12, 20, tied=tied, activation="linear")
    encode = model.encoder.get_layer("encode")
    if quantized:
        model.encoder.quantize("int8", filters="encode")
    encode.enable_lora(2, lora_alpha=4)
    encode.lora_kernel_b.assign(np.full((2, 20), 0.05, "float32"))
    compiled(model).fit(X, verbose=0)
    expected = as_numpy(model(X))
    if tied:  # the kernel that the decoder reads is the one that the encoder computes with
        kernel = encode(np.eye(12, dtype="float32")) - encode.bias
        np.testing.assert_allclose(as_numpy(model.decoder.get_layer("decode").shared_kernel()), as_numpy(kernel), atol=2e-3)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    again = [keras.models.load_model(tmp_path / "model.keras"), SparseAutoencoder.from_preset(tmp_path / "preset")]
    for copied in (*again, copy.deepcopy(model)):
        layer = copied.encoder.get_layer("encode")
        assert (layer.lora_enabled, layer.lora_rank, layer.lora_alpha) == (True, 2, 4)
        np.testing.assert_allclose(as_numpy(copied(X)), expected, rtol=1e-5, atol=1e-6)
        assert len(copied.trainable_weights) == len(model.trainable_weights)
        # Keras saves LoRA merged into the kernel, and loads factors of zero, whose gradients are zero too.
        for name in ("lora_kernel_a", "lora_kernel_b"):
            np.testing.assert_array_equal(as_numpy(getattr(layer, name)), as_numpy(getattr(encode, name)))


def test_files_of_lora_from_before_its_factors_were_saved_load(tmp_path, monkeypatch):
    model = DenseAutoencoder(12, 8)
    model.encoder.get_layer("encode").enable_lora(2)
    expected = as_numpy(model(X))
    with monkeypatch.context() as before:
        before.setattr(DenseAutoencoder, "adaptations", None)
        model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(as_numpy(keras.models.load_model(tmp_path / "model.keras")(X)), expected, rtol=1e-5, atol=1e-6)


def test_a_custom_encoder_keeps_the_scale_of_lora(tmp_path):
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, name="encode")])
    model = SparseAutoencoder(encoder, keras.Sequential([keras.Input((8,)), keras.layers.Dense(12)]))
    encoder.get_layer("encode").enable_lora(2, lora_alpha=6)
    assert copy.deepcopy(model).encoder.get_layer("encode").lora_alpha == 6


PARTS = {"model": lambda model: model, "encoder": lambda model: model.encoder, "decoder": lambda model: model.decoder}
PARTS["layer"] = lambda model: model.encoder.get_layer("encode")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("config", [None, "config"])
@pytest.mark.parametrize("mode", ["gptq", "awq"])
def test_quantization_that_needs_a_language_model_is_refused_before_anything_changes(mode, config, part):
    model = DenseAutoencoder(12, 8, tied=part != "decoder")
    before, weights = model.get_config(), [id(weight) for weight in model.weights]
    if config:
        config = {"gptq": keras.quantizers.GPTQConfig, "awq": keras.quantizers.AWQConfig}[mode](dataset=["a"], tokenizer=None)
    for wanted in (mode, None) if config else (mode,):
        with pytest.raises(ValueError, match="language models"):
            PARTS[part](model).quantize(wanted, config=config)
    assert (model.get_config(), [id(weight) for weight in model.weights]) == (before, weights)


@pytest.mark.parametrize("nested", [False, True])
def test_a_custom_model_in_float8_lists_its_weights_as_before_in_every_copy(nested, tmp_path):
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(5, name="encode")]
    layers = [keras.Sequential([keras.Input((12,)), *layers])] if nested else layers
    encoder = keras.Sequential([keras.Input((12,)), *layers])
    model = SparseAutoencoder(encoder, keras.Sequential([keras.Input((5,)), keras.layers.Dense(12)]), KSparse(2))
    _quantize(model, "float8")
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    expected = [as_numpy(variable) for variable in (*model.weights, *model.optimizer.variables)]
    for copied in (copy.deepcopy(model), keras.models.load_model(tmp_path / "model.keras")):
        copied.set_weights(model.get_weights())
        variables = (*copied.weights, *copied.optimizer.variables)
        for variable, value in zip(variables, expected, strict=True):
            np.testing.assert_array_equal(as_numpy(variable), value)
        np.testing.assert_allclose(as_numpy(copied(X)), as_numpy(model(X)), rtol=1e-6)


@pytest.mark.parametrize("quantized", [False, True])
def test_the_dtype_policy_of_a_layer_is_kept(quantized, tmp_path):
    model = DenseAutoencoder(12, 8, tied=True)
    model.encoder.get_layer("encode").dtype_policy = "mixed_bfloat16"
    if quantized:
        _quantize(model, "int8")
    assert "changes" in model.get_config()
    model.save(tmp_path / "model.keras")
    for copied in (copy.deepcopy(model), keras.models.load_model(tmp_path / "model.keras")):
        for layer, other in zip(copied.encoder.layers, model.encoder.layers, strict=True):
            assert layer.dtype_policy.name == other.dtype_policy.name
        np.testing.assert_array_equal(as_numpy(copied(X)), as_numpy(model(X)))
        assert quantized or copied.get_config() == model.get_config()  # quantizers of Keras have names of their own


def test_a_dtype_policy_whose_weights_are_of_another_type_is_refused_when_a_copy_is_made():
    model = DenseAutoencoder(12, 8)
    model.encoder.get_layer("encode").dtype_policy = "bfloat16"
    with pytest.raises(ValueError, match="does not convert the weights"):
        copy.deepcopy(model)


def test_a_deeper_stack_keeps_what_was_quantized():
    stack = StackedAutoencoder(12, [10, 6], tied=True)
    _quantize(stack, "int8")
    deeper = stack.extend(4)
    assert [layer.quantization_mode for layer in kernels_of(deeper)] == ["int8", "int8", None]
    level = keras.Model(deeper.encoder.inputs[0], deeper.encoder.get_layer("level_2").output)
    np.testing.assert_allclose(as_numpy(level(X)), as_numpy(stack.encoder(X)), rtol=1e-5)


def test_clone_model_is_refused_and_says_what_to_do():
    model = DenseAutoencoder(12, 8, ActivityKL(), tied=True)
    for options in ({}, {"recursive": True}, {"clone_function": lambda layer: layer}):
        with pytest.raises(ValueError, match=r"copy\.deepcopy"):
            keras.models.clone_model(model, **options)
    assert keras.models.clone_model(model.encoder).output_shape == (None, 8)
    outer = keras.models.clone_model(keras.Sequential([keras.Input((12,)), model]))
    assert isinstance(outer.layers[0], DenseAutoencoder)


def test_a_model_takes_symbolic_inputs_of_any_shape_it_can():
    model = DenseAutoencoder(12, 8, tied=True)
    outer = keras.Model(inputs := keras.Input(batch_shape=(4, 12)), model(inputs))
    assert outer.output_shape == (4, 12)


@pytest.mark.parametrize("save", [keras.saving.save_model, keras.models.save_model])
@pytest.mark.parametrize("inside", [False, True])
def test_whole_models_in_hdf5_are_refused_by_every_door(save, inside, tmp_path):
    model = DenseAutoencoder(12, 8, ActivityKL())
    if inside:
        model = keras.Sequential([keras.Input((12,)), model])
    with pytest.raises(ValueError, match=r"\.weights\.h5"):
        save(model, tmp_path / "model.h5")
    with pytest.raises(ValueError, match="No model config"):
        keras.models.load_model(tmp_path / "model.h5")
    assert model.get_config()  # which Keras asks for elsewhere too


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
def test_whole_models_in_hdf5_are_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(ValueError, match=r"\.keras"):
        DenseAutoencoder(12, 8, ActivityKL()).save(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_moving_averages_of_weights_obey_the_constraint_at_the_end_of_fit(tmp_path):
    model = DenseAutoencoder(12, 20, KSparse(3), unit_norm=True)
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "mse", run_eagerly=EAGERLY)
    model.fit(X, batch_size=8, epochs=2, verbose=0)
    norms = np.linalg.norm(as_numpy(model.decoder.get_layer("decode").kernel), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(as_numpy(one), as_numpy(other))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA as TensorFlow's tf.function runs it")
def test_a_centered_model_compiled_by_xla_goes_on_after_loading_as_it_would_have(tmp_path):
    model = DenseAutoencoder(12, 8, KSparse(3), center=True, tied=True)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=True)
    model.fit(X, batch_size=16, shuffle=False, verbose=0)
    mean = model.encoder.get_layer("subtract_mean").mean
    np.testing.assert_allclose(as_numpy(mean), X.mean(axis=0), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.jit_compile
    losses = [each.fit(X + 1, batch_size=16, shuffle=False, verbose=0).history["loss"] for each in (model, again)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(as_numpy(mean), X.mean(axis=0), rtol=1e-5)  # learned once


def test_averages_and_weights_do_not_share_memory_after_fit():
    # On JAX, an evaluation gives the memory of the weights away.
    model = DenseAutoencoder(12, 8)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse", run_eagerly=EAGERLY)
    model.fit(X, verbose=0)
    model.evaluate(X, verbose=0)
    assert all(np.isfinite(as_numpy(variable)).all() for variable in model.optimizer.variables)
