import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import KSparse, MaskingNoise
from keras_sae.models import SparseAutoencoder, SparseCodingAutoencoder
from keras_sae.regularizers import ActivityKL, ActivityLog

L1 = keras.regularizers.L1
X = np.random.default_rng(0).normal(size=(64, 4, 3, 1)).astype("float32")

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow: tf.distribute, SavedModel")
energies = pytest.mark.parametrize(
    ("inference", "penalty"), [("fista", L1(0.05)), ("fista", ActivityLog(0.05)), ("lista", L1(0.05))]
)


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def made(inference="fista", penalty=None, **arguments):
    model = SparseCodingAutoencoder((4, 3, 1), 20, penalty or L1(0.05), inference, **arguments)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def atoms(model):
    return as_numpy(model.encoder.get_layer("encode").kernel)


def planted(inputs, units, active, samples, scale=1.0, seed=0):
    """Sums of a few atoms of a random dictionary, with amplitudes of 1 to 2 times `scale` and a little noise."""
    random = np.random.default_rng(seed)
    dictionary = random.normal(size=(inputs, units))
    dictionary /= np.linalg.norm(dictionary, axis=0)
    used = random.permuted(np.tile(np.arange(units), (samples, 1)), axis=1) < active
    codes = used * random.uniform(1, 2, used.shape) * random.choice([-1, 1], used.shape)
    x = codes @ dictionary.T + 0.01 * random.normal(size=(samples, inputs))
    return (scale * x).astype("float32"), dictionary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inference", "penalty", "scale", "rate"),
    [("fista", L1(0.4 / 32), 1, 0.03), ("fista", ActivityLog(4 / 32), 10, 0.03), ("lista", L1(0.4 / 32), 1, 0.01)],
)
def test_a_planted_dictionary_is_found(inference, penalty, scale, rate):
    x, dictionary = planted(32, 64, active=3, samples=5000, scale=scale)
    model = SparseCodingAutoencoder(32, 64, penalty, inference, steps=10 if inference == "lista" else 50)
    epochs = 40 if inference == "lista" else 20
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, epochs * 50)), "mse")
    model.fit(x, batch_size=100, epochs=epochs, verbose=0)
    found = np.abs(dictionary.T @ atoms(model)).max(axis=1) > 0.95
    assert found.mean() >= 0.95


def test_the_weight_is_that_of_the_total_loss_by_hand():
    # One atom, (1, 0, 0, 0), and D = 4. The energy of x = (4, 2, 0, 0) is ((4 - a)^2 + 4) / 4 + 0.5 |a|, least at a = 3.
    model = SparseCodingAutoencoder(4, 1, L1(0.5))
    model.encoder.get_layer("encode").kernel.assign([[1], [0], [0], [0]])
    model.compile("sgd", "mse")
    x = np.array([[4.0, 2.0, 0.0, 0.0]], "float32")
    np.testing.assert_allclose(as_numpy(model.encoder(x)), [[3]], rtol=1e-5)
    np.testing.assert_allclose(as_numpy(model(x)), [[3, 0, 0, 0]], rtol=1e-5)
    logs = model.evaluate(x, return_dict=True, verbose=0)
    np.testing.assert_allclose([logs["reconstruction_loss"], logs["l1"], logs["loss"]], [1.25, 1.5, 2.75], rtol=1e-5)


@pytest.mark.parametrize("penalty", [L1(0.05), ActivityLog(0.05)])
def test_no_code_near_the_inferred_one_has_a_lower_total_loss(penalty):
    model = made(penalty=penalty, steps=500)
    code, kernel, flat = as_numpy(model.encoder(X)), atoms(model), X.reshape(64, 12)
    random = np.random.default_rng(1)

    def total_loss(code):
        charge = 0.05 * (np.abs(code) if isinstance(penalty, L1) else np.log1p(np.square(code))).sum(axis=1)
        return np.square(flat - code @ kernel.T).mean() + charge.mean()

    np.testing.assert_allclose(model.evaluate(X, verbose=0)[0], total_loss(code), rtol=1e-5)
    for size in (1e-3, 1e-2, 1e-1):
        assert total_loss(code + size * random.normal(size=code.shape)) > total_loss(code)
        assert total_loss(code * (1 + size)) > total_loss(code)
        assert total_loss(code * (1 - size)) > total_loss(code)


def test_training_steps_down_the_gradient_with_the_codes_held():
    model = made()
    code, kernel, flat = as_numpy(model.encoder(X)), atoms(model), X.reshape(64, 12)
    model.fit(X, batch_size=64, verbose=0)
    stepped = kernel - 0.1 * 2 / X.size * (code @ kernel.T - flat).T @ code
    np.testing.assert_allclose(atoms(model), stepped / np.linalg.norm(stepped, axis=0), atol=1e-5)


def test_lista_is_trained_with_its_dictionary():
    model = made("lista")
    before = model.get_weights()
    history = model.fit(X, epochs=10, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    names = [weight.name for weight in model.trainable_weights]
    assert sorted(names) == ["filters", "inhibition", "kernel", "thresholds"]
    assert all(np.abs(old - new).max() > 1e-5 for old, new in zip(before[:4], model.get_weights()[:4], strict=True))


@energies
def test_a_model_is_its_decoder_after_its_encoder(inference, penalty):
    model = made(inference, penalty)
    model.fit(X, epochs=3, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(atoms(model), axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(as_numpy(model(X)), as_numpy(model.decoder(model.encoder(X))), rtol=1e-5, atol=1e-6)
    assert as_numpy(model(X[:0])).shape == (0, 4, 3, 1)
    assert model.encoder.losses == model.losses == []
    tap = keras.Model(model.encoder.inputs[0], model.encoder.get_layer("code").output)
    np.testing.assert_allclose(as_numpy(tap(X)), as_numpy(model.encoder(X)), atol=1e-6)


@pytest.mark.usefixtures("eagerly")
@energies
def test_files_configs_and_presets_bring_it_back(inference, penalty, tmp_path):
    model = made(inference, penalty, steps=4, corruption=MaskingNoise(0.1), kernel_initializer="orthogonal")
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_allclose(as_numpy(again(X)), as_numpy(model(X)), rtol=1e-5, atol=1e-6)
    again.fit(X, verbose=0)
    model.save_to_preset(tmp_path / "preset")
    preset = SparseAutoencoder.from_preset(tmp_path / "preset")
    assert isinstance(preset, SparseCodingAutoencoder)
    np.testing.assert_allclose(as_numpy(preset.encoder(X)), as_numpy(model.encoder(X)), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("eagerly")
@energies
def test_mixed_precision_stays_finite(inference, penalty):
    model = made(inference, penalty, dtype="mixed_float16")
    model.compile("adam", "mse")
    history = model.fit(16 * X, epochs=3, verbose=0).history
    assert all(np.isfinite(history[name]).all() for name in history)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert keras.backend.standardize_dtype(model.encoder(X).dtype) == "float16"


@pytest.mark.parametrize("inference", ["fista", "lista"])
@tensorflow_only
def test_compiled_by_xla_and_on_two_replicas_it_trains_the_same(inference, two_replicas):
    import tensorflow as tf

    def run(strategy, **arguments):
        keras.utils.set_random_seed(1)
        with strategy.scope():
            model = SparseCodingAutoencoder((4, 3, 1), 20, L1(0.05), inference)
            model.compile(keras.optimizers.SGD(0.1), "mse", **arguments)
        losses = model.fit(X, batch_size=32, epochs=3, shuffle=False, verbose=0).history["loss"]
        return [np.asarray(losses), *model.get_weights()]

    plain = run(tf.distribute.get_strategy(), jit_compile=False)
    for other in (run(tf.distribute.get_strategy(), jit_compile=True), run(two_replicas)):
        for one, two in zip(plain, other, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


@energies
@tensorflow_only
def test_a_saved_model_encodes_the_same(inference, penalty, tmp_path):
    import tensorflow as tf

    model = made(inference, penalty)
    model.encoder.export(tmp_path / "encoder", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "encoder")
    np.testing.assert_allclose(loaded.serve(X), as_numpy(model.encoder(X)), atol=1e-5)


@pytest.mark.parametrize(
    "sparsity",
    [None, KSparse(3), ActivityKL(), keras.regularizers.L2(0.1), [L1(0.1), ActivityLog()], [KSparse(3), L1(0.1)], {"x": L1()}],
)
def test_an_energy_of_another_mechanism_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"energy(.|\n)*ActivityLog(.|\n)*Received: sparsity="):
        SparseCodingAutoencoder(6, 4, sparsity)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inference": "ista"}, "inference='ista'"),
        ({"inference": "lista", "sparsity": ActivityLog()}, "soft threshold"),
        ({"steps": 0}, "steps=0"),
        ({"code_units": 0}, "code_units=0"),
        ({"input_shape": (None, 3)}, "input_shape="),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SparseCodingAutoencoder(**{"input_shape": 6, "code_units": 4, "sparsity": L1(0.1), **arguments})
