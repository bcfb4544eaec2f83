import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets import _load

X = np.random.default_rng(0).normal(size=(100, 6)).astype("float32")
LABELS = np.arange(100) // 10


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "x.npz", train=X[:80], train_label=LABELS[:80], test=X[80:], test_label=LABELS[80:])
    return tmp_path / "x.npz"


def test_a_file_is_mapped_into_memory_and_not_read(tmp_path, file):
    np.save(tmp_path / "x.npy", X)
    for vectors in (datasets.load_vectors(tmp_path / "x.npy")[0], datasets.load_vectors(file, "train+test[:0]")[0][:80]):
        np.testing.assert_array_equal(vectors, X[: len(vectors)])
    for path, split in ((tmp_path / "x.npy", "train"), (file, "test")):
        vectors, labels = datasets.load_vectors(path, split)
        assert isinstance(vectors, np.memmap)
        assert not vectors.flags.writeable
        np.testing.assert_array_equal(vectors, X[-len(vectors) :])
        assert labels is None if split == "train" else labels.tolist() == LABELS[80:].tolist()
    np.savez_compressed(tmp_path / "small.npz", train=np.asfortranarray(X))
    np.testing.assert_array_equal(datasets.load_vectors(tmp_path / "small.npz")[0], X)
    np.savez(tmp_path / "fortran.npz", train=np.asfortranarray(X))
    np.testing.assert_array_equal(datasets.load_vectors(tmp_path / "fortran.npz")[0], X)


def test_shares_are_drawn_at_random_and_stay_in_order(tmp_path):
    np.save(tmp_path / "sorted.npy", np.arange(100.0)[:, None])
    train, test = (datasets.load_vectors(tmp_path / "sorted.npy", split)[0][:, 0] for split in ("train[:80%]", "train[80%:]"))
    assert sorted([*train, *test]) == list(range(100))
    assert train.tolist() == sorted(train)
    assert 5 < (test < 50).sum() < 15


def test_vectors_stream_in_blocks_as_they_are_in_memory(tmp_path, file, monkeypatch):
    pytest.importorskip("tensorflow", reason="streams are tf.data")
    from keras_sae.datasets import _vectors

    monkeypatch.setattr(_vectors, "_BLOCK", 7 * X[:1].nbytes)
    for split in ("train", "train[:50%]", "train+test"):
        images, labels = datasets.load_arrays(str(file), split)
        with monkeypatch.context() as without:
            without.setattr(_load, "has_tensorflow", lambda: False)
            expected = datasets.load_arrays(str(file), split)
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(labels, expected[1])
    monkeypatch.setattr(_load, "_MEMORY", 20 * X[:1].nbytes)  # then a file is larger than memory
    images, labels = datasets.load_training(str(file), "train")
    assert isinstance(images, datasets.OnDisk)
    assert (images.shape, images.window) == ((80, 6), 20)
    epoch = datasets.batches(images, 80, seed=0, labels=labels)
    rows, kinds = (np.asarray(each) for each in next(iter(epoch)))
    order = np.lexsort(rows.T)
    np.testing.assert_array_equal(rows[order], X[:80][np.lexsort(X[:80].T)])
    np.testing.assert_array_equal(kinds[order], LABELS[:80][np.lexsort(X[:80].T)])


def test_what_is_no_file_of_vectors_is_refused(tmp_path, file):
    np.save(tmp_path / "series.npy", np.arange(9.0))
    np.save(tmp_path / "texts.npy", np.array([["a"]]))
    np.savez(tmp_path / "uneven.npz", train=X, train_label=LABELS[:5])
    np.savez(tmp_path / "sizes.npz", train=X, test=X[:, :3])
    np.savez(tmp_path / "objects.npz", train=np.array([[1, None]], object))
    (tmp_path / "short.npz").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "text.npy").write_text("hello")
    for name, match in (
        ("series.npy", r"shape \(9,\).*Give `window`"),
        ("texts.npy", "array of numbers"),
        ("uneven.npz", "100 vectors of 'train' and 5 labels"),
        ("sizes.npz", r"same size.*test \(100, 3\)"),
        ("objects.npz", "Python objects"),
        ("short.npz", "not complete"),
        ("text.npy", "not a NumPy file"),
    ):
        with pytest.raises(ValueError, match=match):
            datasets.load_vectors(tmp_path / name)
    with pytest.raises(ValueError, match=r"no split 'validation'.*\['train', 'test'\]"):
        datasets.load_vectors(file, "validation")
    with pytest.raises(ValueError, match="'columns' does not apply to a file of vectors"):
        datasets.load_arrays(str(file), "train", columns=["a"])


def test_vectors_without_a_recipe_get_a_sparse_code(tmp_path, file):
    from keras_sae.training import load_recipe

    recipe = load_recipe(str(file))
    assert recipe.data == {"train": "train", "test": "test", "name": str(file)}
    assert recipe.model["sparsity"] == {"class": "KSparse", "k": 6}
    assert (recipe.model["code_units"], recipe.model["center"]) == (48, True)
    assert recipe.title == "k-sparse autoencoder of the vectors in x.npz"
