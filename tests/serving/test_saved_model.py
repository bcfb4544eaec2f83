import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.serving import export, read_description

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


def load(path):
    import tensorflow as tf

    return tf.saved_model.load(str(path)).signatures


def test_weights_in_bfloat16_take_half_the_size_and_the_difference_is_reported(tmp_path):
    model = DenseAutoencoder(100, 80, sparsity=KSparse(5), tied=True)
    inputs = np.random.default_rng(0).uniform(size=(6, 100)).astype("float32")
    whole = export(model, tmp_path / "served", examples=inputs)
    half = export(model, tmp_path / "served", examples=inputs, weights="bfloat16")
    sizes = [(path / "variables" / "variables.data-00000-of-00001").stat().st_size for path in (whole, half)]
    # Each weight is stored once. The rest is the list of them.
    assert 0 <= sizes[0] - 4 * (100 * 80 + 80 + 100) < 1000
    assert 0 <= sizes[1] - 2 * (100 * 80 + 80 + 100) < 1000
    assert read_description(whole)["difference"]["codes"]["maximum"] < 1e-5
    told = read_description(half)["difference"]["reconstructions"]
    difference = np.asarray(load(half)["reconstruct"](inputs=inputs)["reconstructions"]) - np.asarray(model(inputs))
    np.testing.assert_allclose(told["maximum"], np.abs(difference).max(), rtol=1e-3)
    np.testing.assert_allclose(told["relative"], np.linalg.norm(difference) / np.linalg.norm(model(inputs)), rtol=1e-3)
    assert 1e-5 < told["relative"] < 0.1
    # The model itself has not changed.
    np.testing.assert_allclose(load(whole)["encode"](inputs=inputs)["codes"], model.encoder(inputs), atol=1e-6)


class Calls(keras.layers.Layer):
    """Calls Python from the graph."""

    def call(self, inputs):
        import tensorflow as tf

        outputs = tf.numpy_function(lambda array: array * 2, [inputs], tf.float32)
        outputs.set_shape(inputs.shape)
        return outputs


class Eager(keras.layers.Layer):
    """Works in eager mode only."""

    def call(self, inputs):
        return inputs + float(inputs[0, 0])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


@pytest.mark.parametrize(("layer", "message"), [(Calls, "calls Python"), (Eager, "cannot write one of its layers")])
def test_models_that_cannot_be_exported_are_refused_and_nothing_is_left(layer, message, tmp_path):
    encoder = keras.Sequential([keras.Input((6,)), layer(), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    with pytest.raises(ValueError, match=rf"cannot be exported.*{message}"):
        export(SparseAutoencoder(encoder, decoder), tmp_path / "a" / "served")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "float16"}, "'float16'"),
        ({"image_inputs": True}, r"Received: a model whose inputs have the shape \(12,\)"),
        ({"examples": np.zeros((2, 11))}, r"\(2, 11\)"),
        ({"examples": np.zeros((0, 12))}, r"\(0, 12\)"),
    ],
)
def test_bad_options_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(DenseAutoencoder(12, 9), tmp_path / "served", **options)
    assert not (tmp_path / "served").exists()


def test_other_models_are_refused(tmp_path):
    with pytest.raises(TypeError, match="SparseAutoencoder"):
        export(DenseAutoencoder(12, 9).encoder, tmp_path)


def test_a_preset_is_exported_by_its_name_or_directory_with_its_own_examples(tmp_path):
    examples = np.random.default_rng(0).uniform(size=(3, 12)).astype("float32")
    DenseAutoencoder(12, 9).save_to_preset(tmp_path / "preset", examples=examples)
    path = export(tmp_path / "preset", tmp_path / "served")
    with np.load(path / "assets.extra" / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["encode/inputs/inputs"], examples)
    with pytest.raises(ValueError, match="no preset named"):
        export("unknown", tmp_path / "served", version=2)


def test_a_preset_without_its_weights_is_refused(tmp_path):
    DenseAutoencoder(12, 9).save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match=r"model\.weights\.h5.* is missing"):
        export(tmp_path / "preset", tmp_path / "served")
    assert not (tmp_path / "served").exists()
