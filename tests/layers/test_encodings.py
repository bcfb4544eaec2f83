"""Encodings and grid pooling, by hand and against NumPy."""

import keras
import numpy as np
import pytest

from keras_sae.layers import (
    BothSigns,
    GridPooling,
    LargestShare,
    MirrorAverage,
    Power,
    RotationAverage,
    SoftKSparse,
    SoftThreshold,
    Triangle,
)

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.normal(size=(2, 5, 4, 6)).astype("float32")


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_soft_k_sparse_is_the_largest_minus_the_next():
    following = np.sort(MAPS, axis=-1)[..., -4:-3]
    np.testing.assert_allclose(as_numpy(SoftKSparse(3)(MAPS)), np.maximum(MAPS - following, 0), atol=1e-6)
    sizes = np.sort(np.abs(MAPS), axis=-1)[..., -4:-3]
    expected = np.sign(MAPS) * np.maximum(np.abs(MAPS) - sizes, 0)
    np.testing.assert_allclose(as_numpy(SoftKSparse(3, select_by="magnitude")(MAPS)), expected, atol=1e-6)


def test_soft_threshold_and_both_signs_by_hand():
    outputs = as_numpy(BothSigns()(SoftThreshold(0.5)(np.array([[2.0, -0.75, 0.25]]))))
    np.testing.assert_allclose(outputs, [[1.5, 0, 0, 0, 0.25, 0]])
    np.testing.assert_array_equal(as_numpy(BothSigns(0.5)(np.array([[2.0, -0.75, 0.25]]))), outputs)


def test_powers_keep_signs_and_zeros():
    x = np.array([[4.0, 0.0, -9.0, 1e-6]])
    np.testing.assert_allclose(as_numpy(Power(0.5, 1e-12)(x)), [[2, 0, -3, 1e-3]], rtol=1e-5)
    np.testing.assert_allclose(as_numpy(Power(1 / 3, offset=1.0)(x)), x * (np.abs(x) + 1) ** (-2 / 3), rtol=1e-5)
    slope = (as_numpy(Power(0.5, 1e-4)(np.array([[1e-9, -1e-9]]))) / 1e-9)[0]
    np.testing.assert_allclose(slope, [100, -100], rtol=1e-3)  # not infinite, as that of a square root


@pytest.mark.parametrize(("share", "count"), [(0.4, 2), (0.5, 3), (0.01, 1), (1.0, 6)])
def test_exactly_a_share_of_the_units_gets_a_1(share, count):
    outputs = as_numpy(LargestShare(share)(np.concatenate([MAPS, np.zeros_like(MAPS)])))  # ties too
    assert set(np.unique(outputs)) <= {0, 1}
    assert (outputs.sum(axis=-1) == count).all()
    least = np.sort(MAPS, axis=-1)[..., -count, None]
    np.testing.assert_array_equal(outputs[:2], least <= MAPS)


def test_triangle_is_half_of_that_of_squared_distances():
    x, centres = RANDOM.normal(size=(7, 3)), RANDOM.normal(size=(5, 3))
    distances = np.square(x[:, None] - centres).sum(axis=-1)
    expected = np.maximum(0, distances.mean(axis=1, keepdims=True) - distances) / 2
    np.testing.assert_allclose(as_numpy(Triangle()(x @ centres.T - np.square(centres).sum(axis=1) / 2)), expected, atol=1e-5)


@pytest.mark.parametrize("reduce", ["mean", "sum", "max"])
def test_cells_of_a_grid_cover_every_position_once(reduce):
    rows, columns = (slice(0, 2), slice(2, 5)), (slice(0, 2), slice(2, 4))
    expected = [[getattr(MAPS[:, row, column], reduce)(axis=(1, 2)) for column in columns] for row in rows]
    pooled = as_numpy(GridPooling(2, reduce)(MAPS))
    np.testing.assert_allclose(pooled, np.moveaxis(np.array(expected), 2, 0), atol=1e-5)


@pytest.mark.parametrize("maps", [MAPS[:, :4], MAPS[:, 0, :4], MAPS.reshape(2, 2, 2, 5, 6)[:, :, :, :4], MAPS[:0, :4]])
def test_cells_of_one_size_are_pooled_as_others(maps):
    axes = range(1, maps.ndim - 1)
    expected = maps
    for axis in axes:
        expected = np.stack([half.mean(axis=axis) for half in np.split(expected, 2, axis)], axis)
    np.testing.assert_allclose(as_numpy(GridPooling(2)(maps)), expected, atol=1e-6)


def test_maps_of_any_size_are_pooled_alike():
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, GridPooling(2)(inputs))
    assert model.output_shape == (None, 2, 2, 6)
    for maps in (MAPS, MAPS[:, :3, :3]):
        np.testing.assert_allclose(model.predict(maps, verbose=0), as_numpy(GridPooling(2)(maps)), rtol=1e-6)
    np.testing.assert_array_equal(as_numpy(GridPooling(2, "max")(MAPS[:, :1, :1])), np.tile(MAPS[:, :1, :1], (1, 2, 2, 1)))


def test_sums_of_large_maps_do_not_lose_half_precision():
    ones = np.ones((1, 64, 64, 1), "float16")
    assert as_numpy(GridPooling(1, "mean")(ones)).item() == 1
    assert as_numpy(GridPooling(1, "sum")(ones)).item() == 4096


def test_a_nan_stays_visible():
    bad = np.array([[1.0, np.nan, 3.0, 2.0]], "float32")
    for layer in (SoftKSparse(1), LargestShare(0.5), SoftThreshold(0.1), Triangle(), BothSigns(), Power()):
        assert np.isnan(as_numpy(layer(bad))).any()


def test_bad_arguments_are_refused():
    for make, match in (
        (lambda: SoftKSparse(6).build((None, 6)), "below the number of units"),
        (lambda: SoftKSparse(1, select_by="size"), "`select_by`"),
        (lambda: LargestShare(0), "`share`"),
        (lambda: SoftThreshold(-1), "`threshold`"),
        (lambda: Power(0), "`exponent`"),
        (lambda: Power(offset=0), "`offset`"),
        (lambda: MirrorAverage()(MAPS), "reads several tensors"),
        (lambda: RotationAverage([]), "`angles`"),
        (lambda: GridPooling(0), "`size`"),
        (lambda: GridPooling(2, "median"), "`reduce`"),
        (lambda: GridPooling(2).build((None, 6)), "spatial axes"),
    ):
        with pytest.raises(ValueError, match=match):
            make()
