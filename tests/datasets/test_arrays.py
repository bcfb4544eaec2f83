import importlib.util

import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets._arrays import read_arrays
from keras_sae.datasets._fashion_mnist_sample import FILE
from keras_sae.datasets._splits import parts

COUNTS = {"train": 2000, "test": 1000}  # of the sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("tensorflow", reason="arrays are written where there is TensorFlow")
    folder = tmp_path_factory.mktemp("arrays")
    datasets.save_arrays("patches", folder)
    return folder


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", [("train", 0, 2000)]),
        ("test[:10%]", [("test", 0, 100)]),
        ("train[5:17]+test[-3:]", [("train", 5, 17), ("test", 997, 1000)]),
        ("train[50%:51%]", [("train", 1000, 1020)]),
        ("train[1333:]+train[:1]", [("train", 1333, 2000), ("train", 0, 1)]),
    ],
)
def test_a_split_is_read_as_tfds_writes_it(split, rows):
    assert [(name, *part.indices(COUNTS[name])[:2]) for name, part in parts(split, COUNTS)] == rows
    images, labels = datasets.load_arrays("fashion_mnist_sample", split)
    stored = np.load(FILE)
    np.testing.assert_array_equal(images, np.concatenate([stored[f"{name}_image"][a:b] for name, a, b in rows]))
    np.testing.assert_array_equal(labels, np.concatenate([stored[f"{name}_label"][a:b] for name, a, b in rows]))


def test_saved_arrays_are_read_back(folder):
    images, labels = datasets.load_arrays("patches", "test[:7]")
    saved_images, saved_labels = read_arrays("patches", "test[:7]", folder)
    np.testing.assert_array_equal(saved_images, images)
    np.testing.assert_array_equal(saved_labels, labels)


def test_missing_data_is_reported(folder):
    with pytest.raises(ValueError, match=r"no split 'valid'.*'train', 'test'"):
        read_arrays("patches", "valid", folder)
    with pytest.raises(ValueError, match="no split"):
        read_arrays("fashion_mnist_sample", "train[a:]")
    with pytest.raises(FileNotFoundError, match="keras-sae arrays mnist"):
        read_arrays("mnist", "train", folder)
    with pytest.raises(FileExistsError, match="not overwritten"):
        datasets.save_arrays("patches", folder)


def test_a_users_file_of_arrays_is_a_data_set(tmp_path):
    x = np.random.default_rng(0).uniform(size=(30, 7)).astype("float32")
    np.savez(tmp_path / "mine.npz", train_image=x, test_image=x[:5], test_label=np.arange(5))
    images, labels = datasets.load_arrays("mine", "train[10:]", tmp_path)
    np.testing.assert_array_equal(images, x[10:])
    assert labels is None
    np.testing.assert_array_equal(datasets.load_arrays("mine", "test", tmp_path)[1], np.arange(5))
    with pytest.raises(ValueError, match=r"no split 'valid'.*'train', 'test'"):
        datasets.load_arrays("mine", "valid", tmp_path)
    np.savez(tmp_path / "uneven.npz", train_image=x, train_label=np.arange(5))
    with pytest.raises(OSError, match="30 of train_image and 5 of train_label"):
        datasets.load_arrays("uneven", "train", tmp_path)


def is_refused(folder, name, split, *parts):
    """Reading raises a ValueError whose message has all parts."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        datasets.load_arrays(name, split, folder)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_files_that_are_not_files_of_images_say_what_is_wrong(tmp_path):
    x = np.zeros((9, 8, 8, 1), "uint8")
    np.savez(tmp_path / "objects.npz", train_image=np.array([x[0], None], object))
    is_refused(tmp_path, "objects", "train", "'train_image'", "Python objects")
    np.savez(tmp_path / "keras.npz", x_train=x, x_test=x)
    is_refused(tmp_path, "keras", "train", "['x_train', 'x_test']", "train_image=x_train")
    np.savez(tmp_path / "texts.npz", train_image=np.array([["a"], ["b"]]))
    is_refused(tmp_path, "texts", "train", "arrays of numbers", "'train_image' of shape (2, 1)")
    (tmp_path / "text.npz").write_text("hello")
    is_refused(tmp_path, "text", "train", "text.npz' is not a file of arrays")
    np.savez_compressed(tmp_path / "ok.npz", train_image=np.random.default_rng(0).integers(0, 255, x.shape).astype("uint8"))
    content = (tmp_path / "ok.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(content[:-100])
    is_refused(tmp_path, "short", "train", "short.npz' is not a file of arrays, or is not complete")
    (tmp_path / "flipped.npz").write_bytes(content[:300] + bytes([content[300] ^ 255]) + content[301:])
    is_refused(tmp_path, "flipped", "train", "flipped.npz' is damaged at 'train_image'")


def test_slices_that_cannot_be_say_how_many_images_there_are(tmp_path):
    np.savez(tmp_path / "nine.npz", train_image=np.zeros((9, 8), "uint8"))
    is_refused(tmp_path, "nine", "train[:20]", "train has 9 examples", "[:20]")
    is_refused(tmp_path, "nine", "train[50%:10%]", "starts after its end")
    is_refused(tmp_path, "nine", "test", "no split 'test'", "['train']")
    is_refused(tmp_path, "patches", "train[7:3]", "starts after its end")
    is_refused(tmp_path, "patches", "test[:5001]", "test has 5,000 examples")


def test_names_of_no_file_say_where_it_is_looked_for(tmp_path):
    np.savez(tmp_path / "sunflowers.npz", train_image=np.zeros((9, 8), "uint8"))
    for name in ("sunflowers", "sunflowers.npz"):
        assert datasets.load_arrays(name, "train", tmp_path)[0].shape == (9, 8)
    is_refused(tmp_path, "sunflower", "train", "Did you mean 'sunflowers'?", str(tmp_path / "sunflower.npz"))
    (tmp_path / "pictures").mkdir()
    is_refused(tmp_path, "pictures", "train", "has no images", str(tmp_path / "pictures"))
    with pytest.raises(ValueError, match=r"no file .*no data set named 'mine'") as caught:
        datasets.load_arrays("mine", "train", tmp_path)
    assert "Did you mean" not in str(caught.value)


RECIPE = """
title = "small"
epochs = 3
batch_size = 64
seed = 3
keep_best = true
data = { name = "fashion_mnist_sample", train = "train[:20%]+train[500:700]", test = "test[:99]", validation = "test[50%:60%]" }
k_schedule = { start = 12, epochs = 2 }
optimizer = { class = "Adam", learning_rate = 0.003, use_ema = true }
probe = { validation = 100, C = [1.0] }
[model]
class = "DenseAutoencoder"
code_units = 30
tied = true
sparsity = [{ class = "KSparse", k = 4, alpha = 2 }, { class = "L1", l1 = 0.001 }]
corruption = { class = "MaskingNoise", rate = 0.2 }
"""

TRAIN = """
import sys
from keras_sae import cli
arguments = ["train", sys.argv[1], "--output", sys.argv[2]]
assert cli.main([*arguments, "--set", "epochs=2"]) == 0
assert cli.main([*arguments, "--resume"]) == 0
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_what_is_trained_on_another_backend_loads_and_measures_as_recorded(backend, tmp_path, in_fresh_process):
    from keras_sae.training import evaluate_preset

    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    (tmp_path / "small.toml").write_text(RECIPE)
    in_fresh_process(TRAIN, tmp_path / "small.toml", tmp_path / "run", KERAS_BACKEND=backend)
    _, equal = evaluate_preset(tmp_path / "run" / "preset")
    assert equal


def test_a_tilde_in_data_dir_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "mine.npz", train_image=np.zeros((3, 4, 4, 1), "uint8"))
    assert datasets.load_arrays("mine", "train", "~")[0].shape == (3, 4, 4, 1)
    monkeypatch.setenv("TFDS_DATA_DIR", "~")
    assert datasets.load_arrays("mine", "train")[0].shape == (3, 4, 4, 1)


def test_the_sample_of_glosses_has_a_vector_a_label_and_a_text_each():
    for split, count in (("train", 1600), ("test", 800)):
        vectors, labels = datasets.load_arrays("wordnet_glosses_sample", split)
        texts = datasets.load_texts("wordnet_glosses_sample", split)
        assert (vectors.shape, vectors.dtype, labels.shape, len(texts)) == ((count, 384), np.float16, (count,), count)
        np.testing.assert_allclose(np.linalg.norm(vectors.astype("float32"), axis=1), 1, atol=1e-3)
        assert set(labels) <= set(range(45))
    assert datasets.load_texts("wordnet_glosses_sample", "test[10:12]") == texts[10:12]
    with pytest.raises(ValueError, match="no texts"):
        datasets.load_texts("fashion_mnist_sample", "test")
