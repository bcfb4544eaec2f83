"""Penalties charge the code that was decoded, as the corrupted input gave it: never one made again from the clean input."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import MaskingNoise
from keras_sae.metrics import MeanRate
from keras_sae.models import DenseAutoencoder, StackedAutoencoder

X = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")
CHARGED = 0.1 * 8 * 0.5  # L1 of a code that is nothing but its bias: every input is masked

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow: XLA, tf.distribute")
not_torch = pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras runs one step at a time on PyTorch")


def blind(dtype=None, optimizer=None, **compile_options):
    """A model that sees nothing in training: 8 units, all at 0.5."""
    model = DenseAutoencoder(12, 8, keras.regularizers.L1(0.1), corruption=MaskingNoise(1.0), dtype=dtype)
    model.encoder.get_layer("encode").bias.assign(np.full(8, 0.5))
    model.compile(optimizer or keras.optimizers.SGD(0.0), "mse", metrics=[MeanRate()], **compile_options)
    return model


def clean_l1(model, x=X):
    return 0.1 * float(np.abs(ops.convert_to_numpy(model.encoder(x))).sum(axis=1).mean())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"run_eagerly": True},
        pytest.param({"steps_per_execution": 2}, marks=not_torch),
        {"optimizer": keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)},
        {"dtype": "mixed_float16", "optimizer": "sgd"},  # Keras scales the loss
        pytest.param({"jit_compile": True}, marks=tensorflow_only),
    ],
    ids=lambda options: " ".join(options) or "by default",
)
def test_training_charges_the_code_of_the_corrupted_input(options):
    model = blind(**options)
    history = model.fit(X, batch_size=16, verbose=0).history
    moved = 0.05 if options.get("optimizer") == "sgd" else 1e-5  # the learning rate of "sgd" is not 0
    np.testing.assert_allclose(history["l1"], [CHARGED], rtol=moved)
    np.testing.assert_allclose(history["mean_rate"], [0.5], rtol=moved)
    logs = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["l1"], clean_l1(model), rtol=1e-2 if moved > 0.01 else 1e-5)
    assert abs(logs["l1"] - CHARGED) > 0.1 * CHARGED


@tensorflow_only
def test_under_two_replicas_too(two_replicas):
    with two_replicas.scope():
        model = blind()
    np.testing.assert_allclose(model.fit(X, batch_size=32, verbose=0).history["l1"], [CHARGED], rtol=1e-5)


def test_a_level_in_training_too():
    stack = StackedAutoencoder(12, [10, 8], keras.regularizers.L1(0.1), corruption=MaskingNoise(1.0))
    for name, units in (("encode_1", 10), ("encode", 8)):
        stack.encoder.get_layer(name).bias.assign(np.full(units, 0.5))
    histories = stack.pretrain(X, optimizer=keras.optimizers.SGD(0.0), batch_size=64, verbose=0)
    np.testing.assert_allclose(histories["level_1"].history["l1"], [0.1 * 10 * 0.5], rtol=1e-5)
    np.testing.assert_allclose(histories["code"].history["l1"], [CHARGED], rtol=1e-5)


def test_a_loss_by_hand_charges_the_code_of_the_forward_pass_before():
    model = blind()
    for _ in range(2):
        y_pred = model(X, training=True)
        loss = model.compute_loss(X, None, y_pred, training=True)
        reconstruction = np.square(X - ops.convert_to_numpy(y_pred)).mean()
        np.testing.assert_allclose(ops.convert_to_numpy(loss), reconstruction + CHARGED, rtol=1e-5)


def test_in_training_a_loss_without_its_forward_pass_is_refused():
    model = blind()
    wrapped = 1.0 * model(X, training=True)
    with pytest.raises(ValueError, match="put a cast or another layer into the decoder"):
        model.compute_loss(X, None, wrapped, training=True)
    first, second = model(X, training=True), model(X, training=True)
    with pytest.raises(ValueError, match="with no other call in between"):
        model.compute_loss(X, None, first, training=True)
    model.compute_loss(X, None, second, training=True)
    with pytest.raises(ValueError, match="was already computed"):
        model.compute_loss(X, None, second, training=True)


def test_at_inference_the_code_is_made_again():
    model = blind()
    y_pred = 1.0 * model(X)
    loss = ops.convert_to_numpy(model.compute_loss(X, None, y_pred, training=False))
    reconstruction = np.square(X - ops.convert_to_numpy(y_pred)).mean()
    np.testing.assert_allclose(loss, reconstruction + clean_l1(model), rtol=1e-5)


def test_a_model_without_penalties_takes_any_reconstruction():
    model = DenseAutoencoder(12, 8, corruption=MaskingNoise(1.0))
    model.compile("sgd", "mse")
    y_pred = 1.0 * model(X, training=True)
    loss = ops.convert_to_numpy(model.compute_loss(X, None, y_pred, training=True))
    np.testing.assert_allclose(loss, np.square(X - ops.convert_to_numpy(y_pred)).mean(), rtol=1e-5)
