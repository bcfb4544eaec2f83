import errno

import numpy as np
import pytest

from keras_sae import datasets

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


def test_training_splits_are_shuffled_differently_in_each_epoch_and_fixed_by_a_seed():
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


def test_missing_data_names_the_command(tmp_path, monkeypatch):
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


def test_versions_configurations_and_names_that_tfds_does_not_know_are_refused(tmp_path):
    for name, part in (("mnist:9.9.9", "only: 3.0.1"), ("mnist/large", "large not found"), ("my data", "string my data")):
        with pytest.raises(ValueError, match=part):
            datasets.load(name, "train", data_dir=tmp_path)


def test_a_damaged_file_of_tfds_is_named(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    x = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1)).astype("uint8")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="dots",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(8, 8, 1))}),
        split_datasets={"train": tf.data.Dataset.from_tensor_slices({"image": x})},
        data_dir=tmp_path,
    )
    (file,) = tmp_path.glob("dots/*/*.tfrecord*")
    content = file.read_bytes()
    for damaged in (content[:200] + b"!!" + content[202:], content[:-5]):
        file.write_bytes(damaged)
        with pytest.raises(OSError, match=file.name):
            datasets.load_arrays("dots", "train", tmp_path)
    monkeypatch.setattr(datasets._load, "_MEMORY", 64 * 5)
    images, _ = datasets.load_training("dots", "train", tmp_path)  # stays on disk
    for read in (lambda: list(images.parts()), lambda: images[:20]):
        with pytest.raises(OSError, match=file.name):
            read()
    with pytest.raises(ValueError, match=r"train has 20 examples"):
        datasets.load_arrays("dots", "train[:21]", tmp_path)


def test_a_full_disk_is_not_a_missing_network(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "proxy"})
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", full)
    with pytest.raises(OSError, match=r"disk of .* is full"):
        datasets.load("mnist", "train", data_dir=tmp_path)


def test_an_empty_split_and_a_bad_batch_size_are_refused():
    with pytest.raises(ValueError, match=r"train\[:0\]"):
        datasets.load_arrays("fashion_mnist_sample", "train[:0]")
    with pytest.raises(ValueError, match="batch_size"):
        datasets.load("fashion_mnist_sample", "train", batch_size=0)


def test_mnist_through_tfds(tfds_data_dir):
    images, labels = datasets.load_arrays("mnist", "train", data_dir=tfds_data_dir)
    assert images.shape == (60000, 28, 28, 1)
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
