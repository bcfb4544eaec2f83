import itertools

import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets import _load

tf = pytest.importorskip("tensorflow", reason="TensorFlow Datasets and tf.data need TensorFlow")


def test_the_sample_is_what_it_says():
    for split, count in (("train", 2000), ("test", 1000)):
        images, labels = datasets.load_arrays("fashion_mnist_sample", split)
        assert images.shape == (count, 28, 28, 1)
        assert images.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)
        np.testing.assert_array_equal(np.bincount(labels), np.full(10, count // 10))


def test_load_gives_scaled_images_and_labels_in_stored_order():
    stored, labels = datasets.load_arrays("fashion_mnist_sample", "test")
    loaded = list(datasets.load("fashion_mnist_sample", "test").take(5).as_numpy_iterator())
    np.testing.assert_array_equal([label for _, label in loaded], labels[:5])
    np.testing.assert_array_equal(np.stack([image for image, _ in loaded]), stored[:5].astype("float32") / 255)
    assert loaded[0][0].dtype == np.float32


def test_training_splits_are_shuffled_anew_in_each_epoch_and_fixed_by_a_seed():
    def order(**options):
        dataset = datasets.load("fashion_mnist_sample", "train[:200]", batch_size=200, **options)
        return [next(dataset.as_numpy_iterator())[1] for _ in range(1)] + [
            labels for _, labels in dataset.repeat(2).as_numpy_iterator()
        ]

    _, stored = datasets.load_arrays("fashion_mnist_sample", "train[:200]")
    first, second, third = order(seed=3)
    assert (first != stored).any()
    assert (second != third).any()
    np.testing.assert_array_equal(np.sort(first), np.sort(stored))
    for one, other in zip(order(seed=3), (first, second, third), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(order(shuffle=False)[0], stored)


@pytest.mark.parametrize(
    ("split", "count"), [("train[:10%]", 200), ("train[:7]+test[-3:]", 10), ("test[50%:]", 500), ("train[10:12]", 2)]
)
def test_splits_are_sliced_as_in_tfds(split, count):
    assert len(datasets.load_arrays("fashion_mnist_sample", split)[0]) == count
    assert sum(1 for _ in datasets.load("fashion_mnist_sample", split)) == count


def test_unknown_names_get_near_matches():
    with pytest.raises(ValueError, match="'fashion_mnist'"):
        datasets.load("fashion_mnits", "train")


@pytest.mark.parametrize("split", ["valid", "train[5", "train[:5]+dev"])
def test_unknown_splits_say_which_there_are(split):
    with pytest.raises(ValueError, match=r"'train', 'test'"):
        datasets.load("fashion_mnist_sample", split)


def test_data_that_is_nowhere_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(FileNotFoundError, match=f"tfds build mnist --data_dir={tmp_path}"):
        datasets.load("mnist", "train", data_dir=tmp_path)


def test_data_without_images_is_refused(tmp_path):
    import tensorflow_datasets as tfds

    tfds.dataset_builders.store_as_tfds_dataset(
        name="words",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
        split_datasets={"train": tf.data.Dataset.from_tensor_slices({"text": ["a", "b"]})},
        data_dir=tmp_path,
    )
    with pytest.raises(ValueError, match=r"\['text'\]"):
        datasets.load("words", "train", data_dir=tmp_path)


def test_an_empty_split_and_a_bad_batch_size_are_refused():
    with pytest.raises(ValueError, match=r"train\[:0\]"):
        datasets.load_arrays("fashion_mnist_sample", "train[:0]")
    with pytest.raises(ValueError, match="batch_size"):
        datasets.load("fashion_mnist_sample", "train", batch_size=0)


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


def test_what_does_not_fit_into_memory_is_shuffled_within_a_window_by_seed_and_epoch_alone(monkeypatch):
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


def test_mnist_through_tfds(tfds_data_dir):
    images, labels = datasets.load_arrays("mnist", "train", data_dir=tfds_data_dir)
    assert images.shape == (60000, 28, 28, 1)
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
