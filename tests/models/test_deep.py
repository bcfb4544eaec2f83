import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import BatchKSparse, KSparse, MaskingNoise, SaltAndPepperNoise
from keras_sae.models import DeepAutoencoder, DenseAutoencoder, SparseAutoencoder
from keras_sae.regularizers import ActivityKL, GroupL21

X = np.random.default_rng(0).uniform(size=(64, 4, 3, 1)).astype("float32")


def levels():
    return {"level_1": ActivityKL(0.2, 0.3), "level_2": [KSparse(3), keras.regularizers.L1(0.1)], "code": BatchKSparse(2)}


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_by_hand():
    model = DeepAutoencoder(2, [2], 1, hidden_activation="relu", activation="linear")
    weights = [[[1, -1], [2, 1]], [0, 1], [[1], [3]], [-1], [[2, -1]], [0, 1], [[1, 0], [0, 1]], [5, 6]]
    model.set_weights([np.array(weight, "float32") for weight in weights])
    # hidden = relu([1 + 4, -1 + 2 + 1]) = [5, 2]; code = 5 + 6 - 1 = 10; decoded relu([20, -9]) = [20, 0]; plus the bias.
    np.testing.assert_allclose(as_numpy(model.encoder(np.array([[1.0, 2.0]], "float32"))), [[10]])
    np.testing.assert_allclose(as_numpy(model(np.array([[1.0, 2.0]], "float32"))), [[25, 6]])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("tied", [False, True])
def test_every_level_carries_its_own_mechanisms(tied):
    model = DeepAutoencoder((4, 3, 1), [10, 8], 6, sparsity=levels(), tied=tied)
    assert [layer.activation.__name__ for layer in model.encoder.layers if hasattr(layer, "units")] == [
        "sigmoid",
        "linear",
        "linear",
    ]
    model.compile("sgd", "mse")
    model.fit(X, verbose=0)
    logs = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)
    taps = keras.Model(model.encoder.inputs[0], [model.encoder.get_layer(name).output for name in ("level_1", "level_2")])
    one, two = map(as_numpy, taps(X))
    np.testing.assert_allclose(logs["level_1_activity_kl"], float(ActivityKL(0.2, 0.3).penalty(one)), rtol=1e-5)
    assert (np.count_nonzero(two, axis=1) == 3).all()
    np.testing.assert_allclose(logs["level_2_l1"], 0.1 * np.abs(two).sum(axis=1).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        logs["loss"], logs["reconstruction_loss"] + logs["level_1_activity_kl"] + logs["level_2_l1"], rtol=1e-5
    )
    assert model.encoder.losses == []


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "arguments",
    [
        {"sparsity": levels()},
        {"sparsity": levels(), "tied": True, "unit_norm": True, "corruption": MaskingNoise(0.2)},
        {"sparsity": KSparse(2), "hidden_activation": ["tanh", "relu"], "output_activation": "sigmoid"},
        {"sparsity": [GroupL21(0.1)], "corruption": keras.layers.GaussianNoise(0.1), "unit_norm": True},
        {},
    ],
)
def test_files_and_configs_bring_it_back(arguments, tmp_path):
    model = DeepAutoencoder((4, 3, 1), [10, 8], 6, **arguments)
    model.compile("adam", "mse")
    labels = np.arange(64) % 3 if model.penalties and model.objective.supervised else None
    model.fit(X, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_allclose(as_numpy(again(X)), as_numpy(model(X)), rtol=1e-5, atol=1e-6)
    again.fit(X, labels, verbose=0)
    model.save_to_preset(tmp_path / "preset")
    preset = SparseAutoencoder.from_preset(tmp_path / "preset")
    assert isinstance(preset, DeepAutoencoder)
    np.testing.assert_allclose(as_numpy(preset.encoder(X)), as_numpy(model.encoder(X)), rtol=1e-5, atol=1e-6)


def test_tied_levels_share_their_kernels():
    model = DeepAutoencoder((4, 3, 1), [10, 8], 6, tied=True)
    assert model.count_params() == 12 * 10 + 10 + 10 * 8 + 8 + 8 * 6 + 6 + 8 + 10 + 12


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("tied", [False, True])
def test_unit_norm_holds_the_atoms_of_every_level(tied):
    model = DeepAutoencoder((4, 3, 1), 10, 6, sparsity=keras.regularizers.L1(0.1), unit_norm=True, tied=tied)
    model.compile("sgd", "mse")
    for _ in range(2):
        for name in ("decode", "decode_1"):
            decode = model.decoder.get_layer(name)
            kernel = as_numpy(decode.tied_to.kernel).T if tied else as_numpy(decode.kernel)
            np.testing.assert_allclose(np.linalg.norm(kernel, axis=1), 1, rtol=1e-5)
        model.fit(X, verbose=0)


def test_no_hidden_level_makes_a_dense_autoencoder():
    model = DeepAutoencoder((4, 3, 1), [], 6, sparsity=KSparse(2), output_activation="sigmoid")
    again = DeepAutoencoder.from_config(model.get_config())
    assert again.count_params() == DenseAutoencoder((4, 3, 1), 6, sparsity=KSparse(2)).count_params()
    assert again.decoder.get_layer("decode").activation is keras.activations.sigmoid


@pytest.mark.slow
def test_deeper_reconstructs_curved_data_better():
    # Points on a spiral: one number tells the place on it, and no plane through it does.
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    x = np.stack([np.cos(angle), np.sin(angle), angle / np.pi - 1], axis=1).astype("float32")
    errors = {}
    for name, make in (
        ("deep", lambda: DeepAutoencoder(3, [32, 16], 1, activation="linear", hidden_activation="tanh")),
        ("dense", lambda: DenseAutoencoder(3, 1, activation="linear")),
    ):
        keras.utils.set_random_seed(1)
        model = make()
        model.compile(keras.optimizers.Adam(0.01), "mse")
        errors[name] = model.fit(x, epochs=40, verbose=0).history["loss"][-1]
    assert errors["deep"] < errors["dense"] / 5


# Denoising


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("corruption", [MaskingNoise(0.5), SaltAndPepperNoise(0.5), keras.layers.GaussianNoise(0.5)])
@pytest.mark.parametrize(
    "make", [lambda **k: DeepAutoencoder((4, 3, 1), [10], 6, **k), lambda **k: DenseAutoencoder((4, 3, 1), 6, **k)]
)
def test_a_corrupted_input_has_a_clean_target_in_training_and_is_left_alone_otherwise(make, corruption):
    model = make(corruption=corruption)
    clean = as_numpy(model(X))
    np.testing.assert_allclose(clean, as_numpy(model.decoder(model.encoder(X))), rtol=1e-5, atol=1e-6)
    assert np.abs(as_numpy(model(X, training=True)) - clean).max() > 1e-3
    model.compile(keras.optimizers.SGD(0.0), "mse")
    trained = model.fit(X, batch_size=64, verbose=0).history["reconstruction_loss"][0]
    evaluated = model.evaluate(X, verbose=0)
    np.testing.assert_allclose(evaluated, np.square(X - clean).mean(), rtol=1e-4)
    assert trained != pytest.approx(evaluated, rel=1e-4)
    # The encoder is not what corrupts: under a head that is trained, too.
    np.testing.assert_array_equal(as_numpy(model.encoder(X, training=True)), as_numpy(model.encoder(X)))


def test_something_that_is_no_layer_does_not_corrupt():
    with pytest.raises(TypeError, match="MaskingNoise"):
        DenseAutoencoder(4, 3, corruption=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_units": [4, 0]}, "hidden_units=0"),
        ({"hidden_units": [4], "hidden_activation": ["relu", "relu"]}, "hidden_activation"),
        ({"hidden_units": [4], "sparsity": {"level_2": KSparse(2)}}, "level_1, code"),
        ({"hidden_units": [4], "sparsity": {"level_1": KSparse(5)}}, "k=5"),
        ({"hidden_units": [4], "sparsity": {"level_1": ActivityKL()}, "hidden_activation": "relu"}, "undefined"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeepAutoencoder(**{"input_shape": 6, "code_units": 3, **arguments})
