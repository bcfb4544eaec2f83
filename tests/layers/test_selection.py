"""A selection of a user's own has all that those of the package have."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import BatchKSparse, KSparse, Selection, WinnerTakeAll, selections_of
from keras_sae.models import DenseAutoencoder


@keras.saving.register_keras_serializable(package="test_selection")
class Positive(Selection):
    """Keeps positive entries, and counts how often it was asked to."""

    default_activation = "tanh"
    calls = 0

    def select(self, inputs, scores, training):
        Positive.calls += 1
        return ops.where(scores > 0, inputs, ops.zeros_like(inputs))


CODE = np.array([[1.0, -2.0, 3.0], [-1.0, 2.0, -3.0]], "float32")


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("training", [True, False])
def test_nan_does_not_win_and_does_not_hide(training):
    code = np.where(CODE == 3, np.nan, CODE)
    np.testing.assert_array_equal(as_numpy(Positive()(code, training=training)), [[1, 0, np.nan], [0, 2, 0]])


def test_an_empty_batch_is_returned_without_selecting():
    layer = Positive()
    layer.build((None, 3))
    before = Positive.calls
    assert as_numpy(layer(CODE[:0])).shape == (0, 3)
    assert Positive.calls == before


def test_a_model_takes_the_default_activation_and_comes_back_from_a_file(tmp_path):
    model = DenseAutoencoder(3, 4, sparsity=Positive())
    assert model.encoder.get_layer("encode").activation is keras.activations.tanh
    codes = as_numpy(model.encoder(CODE))
    assert (codes >= 0).all()
    assert (codes == 0).any()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(as_numpy(again.encoder(CODE)), codes)


def test_codes_whose_competing_axes_have_no_known_size_are_refused():
    for across, shape in (("units", (None, 4, None)), ("positions", (None, None, 4)), ("all", (None, None, 4))):
        layer = Positive()
        layer.across = across
        with pytest.raises(ValueError, match="Received: input_shape"):
            layer.build(shape)
    layer.across = "positions"
    with pytest.raises(ValueError, match="has no maps"):
        layer.build((None, 4))
    layer.build((None, 5, 3, 4))
    assert layer.competitors == 15


def test_zeros_are_exact_where_inference_selects():
    assert KSparse(1).exact_zeros
    assert BatchKSparse(1).exact_zeros
    assert WinnerTakeAll(spatial=True).exact_zeros
    assert not WinnerTakeAll(lifetime=0.5).exact_zeros  # then the activation decides


def test_selections_are_found_in_models_within_models():
    inside = keras.Sequential([keras.Input((3,)), KSparse(2)])
    outside = keras.Sequential([keras.Input((3,)), Positive(), inside, keras.layers.Dense(2)])
    assert [type(layer) for layer in selections_of(outside)] == [Positive, KSparse]
