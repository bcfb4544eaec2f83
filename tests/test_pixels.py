"""Integers mean the same at every door of the package."""

import keras
import numpy as np
import pytest

from keras_sae import evaluation, presets, serving
from keras_sae.datasets import batches, load, load_arrays, load_training
from keras_sae.models import DenseAutoencoder

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1))
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModel and tf.data")


@pytest.fixture(scope="module")
def model():
    return DenseAutoencoder((4, 4, 1), 3)


def data_of(dtype, tmp_path):
    np.savez(tmp_path / "mine.npz", train_image=PIXELS.astype(dtype))
    return {"name": "mine", "split": "train", "data_dir": str(tmp_path)}


# Each takes pixels of a dtype to what the model reads.
def _encode(model, dtype, tmp_path):
    return evaluation.encode(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Identity()]), PIXELS.astype(dtype))


def _train(model, dtype, tmp_path):
    return np.sort(next(iter(batches(PIXELS.astype(dtype), 6, seed=0)))[0], axis=0)


def _preset(model, dtype, tmp_path):
    model.save_to_preset(tmp_path / "preset", examples=PIXELS.astype(dtype))
    return presets.load_reference(tmp_path / "preset")["inputs"]


def _data_set(model, dtype, tmp_path):
    return np.concatenate(list(load(**data_of(dtype, tmp_path), batch_size=4, shuffle=False).as_numpy_iterator()))


def _arrays(model, dtype, tmp_path):
    return evaluation.as_input(load_arrays(**data_of(dtype, tmp_path))[0])


def _export(model, dtype, tmp_path):
    folder = serving.export(model, tmp_path / "export", examples=PIXELS.astype(dtype))
    with np.load(folder / "assets.extra" / "golden.npz") as golden:
        return golden["encode/inputs/inputs"]


DOORS = [_encode, _train, _preset, pytest.param(_data_set, marks=tensorflow_only), _arrays]


@pytest.mark.parametrize("door", DOORS)
def test_uint8_is_divided_by_255(door, model, tmp_path):
    expected = PIXELS.astype("float32") / 255
    read = door(model, "uint8", tmp_path)
    np.testing.assert_allclose(read, np.sort(expected, axis=0) if door is _train else expected, rtol=1e-6)


@tensorflow_only
def test_examples_of_an_export_are_divided_too(model, tmp_path):
    np.testing.assert_allclose(_export(model, "uint8", tmp_path), PIXELS.astype("float32") / 255, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16", "int8"])
@pytest.mark.parametrize("door", [*DOORS, pytest.param(_export, marks=tensorflow_only)])
def test_other_integers_are_refused(door, dtype, model, tmp_path):
    with pytest.raises(ValueError, match=rf"{dtype}.*astype\(.uint8.\)"):
        door(model, dtype, tmp_path)


def test_the_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match="images of 'mine' of dtype int64"):
        load_training(**data_of("int64", tmp_path))
