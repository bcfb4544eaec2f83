import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import MaskingNoise
from keras_sae.models import SparseAutoencoder, VariationalAutoencoder
from keras_sae.regularizers import GaussianKL

X = np.random.default_rng(0).uniform(size=(64, 4, 3, 1)).astype("float32")


def small(**arguments):
    return VariationalAutoencoder((4, 3, 1), 2, [10, 8], **arguments)


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def posterior_of(model, x):
    return as_numpy(keras.Model(model.encoder.inputs[0], model.encoder.get_layer("posterior").output)(x))


def test_by_hand():
    model = VariationalAutoencoder(2, 1, hidden_units=2)
    model.encoder.set_weights(list(map(np.array, ([[1, -1], [2, 1]], [0, 1], [[1, 0.5], [3, -1]], [-1, 0]))))
    model.decoder.set_weights(list(map(np.array, ([[2, -1]], [0, 1], [[1, 0], [0, 1]], [5, 6]))))
    x = np.array([[1.0, 2.0]], "float32")
    # hidden = relu([1 + 4, -1 + 2 + 1]) = [5, 2]; mean = 5 + 6 - 1 = 10, log variance = 2.5 - 2 = 0.5.
    np.testing.assert_allclose(posterior_of(model, x), [[10, 0.5]])
    np.testing.assert_allclose(as_numpy(model.encoder(x)), [[10]])
    # decoded relu([20, -9]) = [20, 0]; plus the bias.
    np.testing.assert_allclose(as_numpy(model(x)), [[25, 6]])


def test_at_inference_a_model_is_its_decoder_after_its_encoder_of_the_mean():
    model = small()
    np.testing.assert_array_equal(as_numpy(model.encoder(X)), posterior_of(model, X)[:, :2])
    np.testing.assert_allclose(as_numpy(model(X)), as_numpy(model.decoder(model.encoder(X))), rtol=1e-5, atol=1e-6)
    assert model.encoder.losses == []
    assert model.losses == []


def test_training_decodes_a_draw_and_charges_what_it_was_drawn_from():
    model = small(weight=0.3)
    drawn = as_numpy(model(X, training=True))
    assert (drawn != as_numpy(model(X, training=True))).any()
    assert (drawn != as_numpy(model(X))).any()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    logs = model.train_on_batch(X, return_dict=True)
    expected = float(GaussianKL(0.3).penalty(posterior_of(model, X)))
    np.testing.assert_allclose(logs["posterior_gaussian_kl"], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], logs["reconstruction_loss"] + logs["posterior_gaussian_kl"], rtol=1e-5)
    evaluated = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)
    np.testing.assert_allclose(evaluated["posterior_gaussian_kl"], expected, rtol=1e-5)
    np.testing.assert_allclose(evaluated["reconstruction_loss"], np.square(X - as_numpy(model(X))).mean(), rtol=1e-5)
    assert logs["reconstruction_loss"] != pytest.approx(evaluated["reconstruction_loss"], rel=1e-3)


def test_the_default_weight_makes_binary_crossentropy_the_evidence_lower_bound():
    model = small(output_activation="sigmoid")
    model.compile("sgd", "binary_crossentropy")
    loss = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)["loss"]
    p, posterior = as_numpy(model(X)).reshape(64, -1), posterior_of(model, X)
    x = X.reshape(64, -1)
    per_sample = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    divergence = (np.square(posterior[:, :2]) + np.exp(posterior[:, 2:]) - posterior[:, 2:] - 1).sum(axis=1) / 2
    np.testing.assert_allclose(loss, (per_sample + divergence).mean() / 12, rtol=1e-5)


# What theory says of the linear model (Lucas et al., 2019, and Tipping and Bishop, 1999): at its optimum it is the
# probabilistic PCA of the data.

NOISE = 0.25  # the variance of the decoder


def linear(variances, code_units):
    """`(model, x, directions)`: a linear model, and data that have exactly these variances in these directions."""
    random = np.random.default_rng(0)
    count = len(variances)
    directions = np.linalg.qr(random.normal(size=(count, count)))[0]
    white = random.normal(size=(256, count))
    white = np.linalg.qr(white - white.mean(axis=0))[0] * np.sqrt(256)
    x = (white * np.sqrt(variances) @ directions.T).astype("float32")
    model = VariationalAutoencoder(count, code_units, hidden_units=(), weight=2 * NOISE / count)
    return model, x, directions


def test_the_best_linear_model_tells_half_a_log_of_signal_to_noise_of_each_direction():
    variances = np.array([4, 2, 1, 0.1, 0.05])  # of which the last two are not worth the noise
    model, x, directions = linear(variances, 4)
    kept = np.maximum(1 - NOISE / variances[:4], 0)
    # The decoder is sqrt(variance - noise), the encoder its posterior mean, and the posterior's variance noise / variance.
    means = directions[:, :4] * np.sqrt(kept / variances[:4])
    log_variances = np.log(np.minimum(NOISE / variances[:4], 1))
    model.encoder.set_weights([np.hstack([means, 0 * means]), np.hstack([np.zeros(4), log_variances])])
    model.decoder.set_weights([(directions[:, :4] * np.sqrt(kept * variances[:4])).T, np.zeros(5)])
    model.compile("sgd", "mse")
    logs = model.evaluate(x, batch_size=256, return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["posterior_gaussian_kl"] / (2 * NOISE / 5), np.log(4 * 2 * 1 / NOISE**3) / 2, rtol=1e-5)
    # Kept directions are shrunk by noise / variance, as by a Wiener filter; the others are lost.
    error = (NOISE**2 / 4 + NOISE**2 / 2 + NOISE**2 / 1 + 0.1 + 0.05) / 5
    np.testing.assert_allclose(logs["reconstruction_loss"], error, rtol=1e-5)


def test_training_finds_the_best_linear_model_and_leaves_a_unit_that_is_not_worth_its_noise():
    model, x, directions = linear(np.array([4, 0.1, 0.05]), 2)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 600)), "mse")
    model.fit(np.tile(x, (2400, 1)), batch_size=1024, epochs=1, shuffle=False, verbose=0)  # steps of all data, four times
    divergence = model.evaluate(x, batch_size=256, return_dict=True, verbose=0)["posterior_gaussian_kl"] / (2 * NOISE / 3)
    np.testing.assert_allclose(divergence, np.log(4 / NOISE) / 2, rtol=0.01)
    mean, log_variance = np.split(posterior_of(model, x), 2, axis=1)
    variance = np.exp(log_variance).mean(axis=0)
    np.testing.assert_allclose(np.sort(variance), [NOISE / 4, 1], rtol=0.02)
    assert mean[:, variance.argmax()].var() < 1e-3  # as the prior, whatever the input
    first = directions[:, :1]
    np.testing.assert_allclose(as_numpy(model(x)), (1 - NOISE / 4) * x @ first @ first.T, atol=0.05)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_replicas_charge_what_one_device_does(two_replicas):
    import tensorflow as tf

    logs = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        keras.utils.set_random_seed(1)
        with strategy.scope():
            model = small()
            model.compile(keras.optimizers.SGD(0.0), "mse")
        trained = model.fit(X, batch_size=32, epochs=2, verbose=0).history["posterior_gaussian_kl"]
        logs.append([*trained, *model.evaluate(X, batch_size=32, verbose=0, return_dict=True).values()])
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"hidden_units": (), "weight": 0.1},
        {"hidden_units": [6], "weight": 0, "hidden_activation": "tanh", "output_activation": "sigmoid"},
        {"corruption": MaskingNoise(0.2), "kernel_initializer": "he_normal", "dtype": "mixed_bfloat16"},
    ],
)
def test_files_and_configs_bring_it_back(arguments, tmp_path):
    model = VariationalAutoencoder((4, 3, 1), 2, **arguments)
    model.compile("adam", "mse")
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_allclose(as_numpy(again(X)), as_numpy(model(X)), rtol=1e-5, atol=1e-6)
    model.save_to_preset(tmp_path / "preset")
    preset = SparseAutoencoder.from_preset(tmp_path / "preset")
    assert isinstance(preset, VariationalAutoencoder)
    np.testing.assert_array_equal(as_numpy(preset.encoder(X)), as_numpy(model.encoder(X)))
    again.fit(X, verbose=0)


def test_a_seed_fixes_a_run():
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        model = small()
        model.compile("adam", "mse")
        model.fit(X, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_stays_finite(dtype):
    model = VariationalAutoencoder(12, 64, 16, dtype=dtype)
    model.compile("adam", "mse")
    x = 4 * np.random.default_rng(0).uniform(size=(4096, 12)).astype("float32")
    logs = model.train_on_batch(x, return_dict=True)
    assert 4096 * 12 * logs["posterior_gaussian_kl"] > 65504  # the sum over the batch does not fit into float16
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_the_encoder_can_be_tapped_and_the_decoder_draws():
    model = small()
    assert [layer.name for layer in model.encoder.layers][-3:] == ["encode", "posterior", "code"]
    assert [layer.name for layer in model.decoder.layers] == ["codes", "decode", "decode_2", "decode_1", "restore_shape"]
    assert model.decoder.predict(np.random.default_rng(0).normal(size=(7, 2)), verbose=0).shape == (7, 4, 3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (None, 3)}, "input_shape="),
        ({"code_units": 0}, "code_units=0"),
        ({"hidden_units": [4, 0]}, "hidden_units=0"),
        ({"weight": -1.0}, "weight=-1.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VariationalAutoencoder(**{"input_shape": 6, "code_units": 3, **arguments})


def test_it_takes_no_mechanism():
    with pytest.raises(TypeError, match="sparsity"):
        VariationalAutoencoder(6, 3, sparsity=GaussianKL())
