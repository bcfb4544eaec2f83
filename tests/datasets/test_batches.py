import itertools

import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets import _load

pytest.importorskip("tensorflow", reason="data on disk is read by tf.data")


def test_epochs_are_shuffled_by_seed_and_epoch_alone():
    images = np.arange(10, dtype="uint8").reshape(10, 1)

    def epochs(first, count, seed=5):
        several = itertools.islice(datasets.batches(images, 4, seed, labels=10 * images[:, 0], epoch=first), 3 * count)
        pairs = [(np.rint(np.asarray(x) * 255).astype(int).ravel(), np.asarray(labels)) for x, labels in several]
        assert all((labels == 10 * x).all() for x, labels in pairs)
        return np.concatenate([x for x, _ in pairs]).reshape(count, 10)

    three = epochs(0, 3)
    for order in three:
        np.testing.assert_array_equal(np.sort(order), np.arange(10))
    assert (three[0] != three[1]).any()
    np.testing.assert_array_equal(epochs(2, 1)[0], three[2])
    assert (epochs(0, 1, seed=6)[0] != three[0]).any()
    for number, order in enumerate(three):
        np.testing.assert_array_equal(order, np.random.default_rng([5, number]).permutation(10))
    (rest,) = next(iter(datasets.batches(images, 4, 5, epoch=1, step=2)))  # the last two of the second epoch
    np.testing.assert_array_equal(np.rint(np.asarray(rest) * 255).ravel(), three[1][8:])


def test_data_on_disk_is_shuffled_within_a_window_by_seed_and_epoch_alone(monkeypatch):
    whole, whole_labels = datasets.load_arrays("fashion_mnist_sample", "train[:200]")
    monkeypatch.setattr(_load, "_MEMORY", 784 * 50)
    images, labels = datasets.load_training("fashion_mnist_sample", "train[:200]")
    assert isinstance(images, datasets.OnDisk)
    assert (images.shape, images.dtype, len(labels)) == (whole.shape, whole.dtype, 200)
    np.testing.assert_array_equal(images[:5], whole[:5])
    np.testing.assert_array_equal(np.concatenate(list(labels.parts(60))), whole_labels)
    assert images[:0].shape == (0, 28, 28, 1)
    with pytest.raises(TypeError, match="first n"):
        images[5:9]
    place = {image.tobytes(): row for row, image in enumerate(whole)}

    def epochs(first, count, seed=5, step=0):
        several = datasets.batches(images, 60, seed, labels, epoch=first, step=step).take(4 * count - step)  # 60, 60, 60, 20
        pairs = [(np.rint(np.asarray(x) * 255).astype("uint8"), np.asarray(y)) for x, y in several]
        rows = [place[image.tobytes()] for x, _ in pairs for image in x]
        np.testing.assert_array_equal(np.concatenate([y for _, y in pairs]), whole_labels[rows])
        return rows

    two = epochs(0, 2)
    for rows in (two[:200], two[200:]):
        assert sorted(rows) == list(range(200))
        assert max(row - position for position, row in enumerate(rows)) < 50 < max(rows[:100])
    assert two[:200] != two[200:]
    assert epochs(1, 1) == two[200:]
    assert epochs(1, 1, step=3) == two[-20:]
    assert epochs(0, 1, seed=6) != two[:200]
