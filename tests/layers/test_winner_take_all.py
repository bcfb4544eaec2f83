import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import WinnerTakeAll

RNG = np.random.default_rng(0)


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_lifetime_keeps_the_largest_of_each_unit_in_training_only():
    code = np.array([[1.0, 0.0], [3.0, 0.5], [2.0, 0.0], [0.0, 4.0]], "float32")
    layer = WinnerTakeAll(lifetime=0.25)
    np.testing.assert_array_equal(as_numpy(layer(code, training=True)), [[0, 0], [3, 0], [0, 0], [0, 4]])
    np.testing.assert_array_equal(as_numpy(layer(code)), code)


def test_spatial_keeps_the_largest_of_each_map_always():
    maps = np.array([[[1.0, 8.0], [3.0, 5.0], [2.0, 9.0]], [[7.0, 0.0], [6.0, 1.0], [0.0, 0.0]]], "float32")
    expected = [[[0, 0], [3, 0], [0, 9]], [[7, 0], [0, 1], [0, 0]]]
    layer = WinnerTakeAll(spatial=True, lifetime=None)
    for training in (True, False):
        np.testing.assert_array_equal(as_numpy(layer(maps, training=training)), expected)


def test_lifetime_after_spatial_lets_the_winners_of_the_maps_compete():
    maps = np.array([[[1.0, 8.0], [3.0, 5.0], [2.0, 9.0]], [[7.0, 0.0], [6.0, 1.0], [0.0, 0.0]]], "float32")
    layer = WinnerTakeAll(spatial=True, lifetime=0.5)
    expected = [[[0, 0], [0, 0], [0, 9]], [[7, 0], [0, 0], [0, 0]]]
    np.testing.assert_array_equal(as_numpy(layer(maps, training=True)), expected)


@pytest.mark.parametrize(
    ("share", "rows", "kept"), [(0.05, 100, 5), (0.29, 100, 29), (0.07, 100, 7), (0.05, 19, 1), (0.5, 3, 1), (1.0, 6, 6)]
)
def test_the_share_is_rounded_down_and_at_least_one(share, rows, kept):
    code = RNG.uniform(1, 2, (rows, 4)).astype("float32")
    selected = as_numpy(WinnerTakeAll(lifetime=share)(code, training=True))
    np.testing.assert_array_equal(np.count_nonzero(selected, axis=0), kept)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function is TensorFlow's")
@pytest.mark.parametrize("share", [0.05, 0.07, 0.29])
def test_the_share_of_a_batch_of_unknown_size(share):
    import tensorflow as tf

    layer = WinnerTakeAll(lifetime=share)
    layer.build((None, 4))
    select = tf.function(lambda z: layer(z, training=True), input_signature=[tf.TensorSpec((None, 4))])
    for rows in (0, 1, 19, 100):
        selected = select(tf.random.uniform((rows, 4), 1, 2))
        expected = min(rows, max(1, round(share * 10000) * rows // 10000))
        np.testing.assert_array_equal(np.count_nonzero(selected, axis=0), expected)


def test_no_unit_is_left_out_however_rarely_it_fires():
    code = RNG.uniform(size=(40, 3)).astype("float32") * [1.0, 1e-3, 1e-6]
    selected = as_numpy(WinnerTakeAll(lifetime=0.1)(code.astype("float32"), training=True))
    np.testing.assert_array_equal(np.count_nonzero(selected, axis=0), 4)


def test_equal_entries_keep_exactly_the_share():
    maps = np.ones((20, 3, 3, 5), "float32")
    for layer, kept in ((WinnerTakeAll(lifetime=0.1), 18), (WinnerTakeAll(spatial=True, lifetime=0.1), 2)):
        np.testing.assert_array_equal(np.count_nonzero(as_numpy(layer(maps, training=True)), axis=(0, 1, 2)), kept)


@pytest.mark.parametrize(
    "arguments",
    [
        {"lifetime": 0},
        {"lifetime": 1.1},
        {"lifetime": "0.1"},
        {"lifetime": True},
        {"lifetime": float("nan")},
        {"lifetime": None},
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments):
    with pytest.raises(ValueError, match="Received"):
        WinnerTakeAll(**arguments)


def test_codes_without_maps_have_no_spatial_winners():
    with pytest.raises(ValueError, match="has no maps"):
        WinnerTakeAll(spatial=True).build((None, 8))
    with pytest.raises(ValueError, match="size of every axis"):
        WinnerTakeAll().build((None, None, 8))
