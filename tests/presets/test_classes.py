"""A config may name some classes; nothing else is imported or run."""

import json
import sys

import keras
import pytest

from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.presets._classes import check_classes
from keras_sae.presets._manifest import write_metadata

REFUSAL = "Only classes of Keras and of keras_sae are allowed"


@pytest.fixture
def preset(tmp_path):
    """A function that saves a preset, and has its config changed by another function."""

    def make(change):
        directory = tmp_path / "preset"
        DenseAutoencoder(12, 6).save_to_preset(directory)
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(change(config)))
        write_metadata(directory, {})
        return directory

    return make


@pytest.mark.parametrize("package", ["keras_hub", "someones_package", "keras_sae_evil", "os"])
@pytest.mark.parametrize("place", ["model", "initializer", "activation", "policy"])
def test_no_module_that_a_config_names_is_imported(preset, tmp_path, monkeypatch, package, place):
    (tmp_path / "path" / package).mkdir(parents=True)
    (tmp_path / "path" / package / "__init__.py").write_text("raise SystemExit('run by a preset')")
    monkeypatch.syspath_prepend(tmp_path / "path")
    evil = {"class_name": "Thing", "module": f"{package}.inner", "config": {}, "registered_name": f"{package}>Thing"}

    def change(config):
        if place == "model":
            return evil
        key = {"initializer": "kernel_initializer", "activation": "activation", "policy": "dtype"}[place]
        config["config"][key] = {**evil, "class_name": "function", "config": "thing"} if place == "activation" else evil
        return config

    directory = preset(change)
    with pytest.raises(ValueError, match=f"of the module '{package}.inner'(.|\n)*{REFUSAL}"):
        SparseAutoencoder.from_preset(directory)
    assert package == "os" or package not in sys.modules


@pytest.mark.parametrize(
    "evil",
    [
        {"class_name": "Lambda", "module": "keras.layers", "config": {}, "registered_name": None},
        {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
        {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "/tmp"}, "registered_name": None},
        {"class_name": "function", "module": "keras.utils", "config": "get_file", "registered_name": "function"},
        {"class_name": "function", "module": "keras.datasets.mnist", "config": "load_data", "registered_name": "function"},
        {"class_name": "function", "module": "keras.saving", "config": "load_model", "registered_name": "function"},
        {"class_name": "X", "module": ["keras"], "config": {}},
        {"class_name": {"class_name": "X"}, "module": "keras", "config": {}},
        {"class_name": "X", "module": "kerasx.layers", "config": {}},
    ],
    ids=lambda evil: str(evil["class_name"])[:12] + "-" + str(evil.get("module")),
)
def test_what_runs_code_is_refused_even_where_keras_was_told_to_allow_it(evil):
    # This does not depend on the safe mode of Keras, which a program may have switched off.
    with pytest.raises(ValueError, match=r"^it (names|holds)"):
        check_classes({"class_name": "Dense", "module": "keras.layers", "config": {"inner": [1, {"deep": evil}]}})


@pytest.mark.parametrize("config", [None, [], "Dense", 3, {}, {"class_name": 3, "config": {}}, {"class_name": "Dense"}])
def test_a_config_that_is_no_object_is_refused(preset, config):
    with pytest.raises(ValueError, match=r"config\.json: it describes no object"):
        SparseAutoencoder.from_preset(preset(lambda _: config))


def test_an_object_that_is_no_model_is_refused(preset):
    layer = keras.saving.serialize_keras_object(keras.initializers.Zeros())
    with pytest.raises(ValueError, match="it describes a Zeros, which is not a model"):
        SparseAutoencoder.from_preset(preset(lambda _: layer))


def test_classes_and_functions_that_the_user_registered_are_made(tmp_path):
    @keras.saving.register_keras_serializable(package="of_a_test")
    class Doubled(keras.layers.Dense):
        pass

    @keras.saving.register_keras_serializable(package="of_a_test")
    def gentle(x):
        return x / 2

    encoder = keras.Sequential([keras.Input((12,)), Doubled(6, activation=gentle, kernel_regularizer="l2")])
    decoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(12, activation="gelu")])
    SparseAutoencoder(encoder, decoder).save_to_preset(tmp_path / "preset")
    again = SparseAutoencoder.from_preset(tmp_path / "preset")
    assert type(again.encoder.layers[-1]) is Doubled


def test_models_of_layers_and_operations_of_keras_are_made(tmp_path):
    inputs = keras.Input((8, 3))
    x = keras.ops.add(keras.layers.SpectralNormalization(keras.layers.Dense(3))(inputs), inputs)
    x = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(x))
    encoder = keras.Model(inputs, keras.layers.Bidirectional(keras.layers.GRU(6, dropout=0.1))(x))
    decoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(24), keras.layers.Reshape((8, 3))])
    model = SparseAutoencoder(encoder, decoder)
    model.save_to_preset(tmp_path / "preset")
    again = SparseAutoencoder.from_preset(tmp_path / "preset")
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        assert (one == other).all()
