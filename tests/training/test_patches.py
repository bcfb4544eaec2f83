"""Recipes that train on patches and encode whole images."""

import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder, SparseAutoencoder
from keras_sae.training import load_recipe, publish, train
from keras_sae.training._publish import _examples

CHANGES = [
    "epochs=1",
    "data.patches={size=5, count=256}",
    "model.class=ConvolutionalAutoencoder",
    "model.filters=8",
    "model.kernel_size=1",
    "model.strides=1",
    "model.preprocessing=[{class='Patches', size=5}, {class='ContrastNormalization'}, {class='ZCAWhitening'}]",
    "model.features={encode=[{class='BothSigns'}, {class='GridPooling'}, {class='Standardize'}]}",
    "model.sparsity={class='KSparse', k=2}",
    "k_schedule.start=4",
    "k_schedule.epochs=1",
]


def of_patches(recipe_file, *changes):
    content = recipe_file.read_text().replace("code_units = 30\n", "")
    path = recipe_file.with_name("small_conv_patches.toml")
    path.write_text(content)
    return load_recipe(path, [*CHANGES, *changes])


def test_a_dictionary_of_patches_encodes_images(recipe_file, tmp_path):
    recipe = of_patches(recipe_file)
    model = train(recipe, tmp_path / "run", verbose=0)
    assert model.encoder.input_shape == (None, None, None, 1)
    assert not model.centers  # the whitening centres
    preset = publish(tmp_path / "run")
    model = SparseAutoencoder.from_preset(preset)
    images = np.random.default_rng(0).uniform(size=(3, 28, 28, 1)).astype("float32")
    assert model.features(images).shape == (3, 2, 2, 16)
    assert all(layer.is_adapted for layer in (model.encoder.layers[3], model.features.layers[-1]))
    assert "ZCAWhitening" in (preset / "README.md").read_text()


def test_a_model_of_patches_must_read_any_size(recipe_file, tmp_path):
    with pytest.raises(ValueError, match="Give every size, or use strides=1"):
        of_patches(recipe_file, "model.strides=2").build((28, 28, 1))


def test_a_recipe_names_a_kernel_regularizer(recipe_file):
    model = of_patches(recipe_file, "model.kernel_regularizer={class='L2', l2=0.5}").build((28, 28, 1))
    assert model.get_config()["kernel_regularizer"]["config"] == {"l2": 0.5}
    with pytest.raises(ValueError, match="Unknown class for `kernel_regularizer`"):
        of_patches(recipe_file, "model.kernel_regularizer={class='L3'}").build((28, 28, 1))


def test_examples_of_a_preset_are_few_where_codes_are_large_and_small_where_they_are_dense():
    images = np.random.default_rng(0).uniform(size=(9, 32, 48, 1)).astype("float32")

    def examples(size, filters, sparsity=None):
        model = ConvolutionalAutoencoder((*size, 1), filters, sparsity, kernel_size=1, strides=1, activation="sigmoid")
        return _examples(model, images)

    assert examples((32, 48), 1).shape == (8, 32, 48, 1)
    assert examples((32, 48), 40).shape == (2, 32, 48, 1)
    assert examples((None, None), 1).shape == (2, 32, 48, 1)
    np.testing.assert_array_equal(examples((None, None), 20), images[:2, 8:24, 12:36])
    assert examples((None, None), 20, KSparse(1)).shape == (2, 32, 48, 1)
