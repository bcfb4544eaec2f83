import numpy as np
import pytest

from keras_sae.evaluation import SUITES, evaluate, retrieval
from keras_sae.evaluation import _compression as compression
from keras_sae.evaluation._neighbours import largest, ndcg, recall, scores_of, unit_rows
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.ops import to_csr

# Directions in the plane, in degrees, whose nearest neighbours can be seen.
ANGLES = np.radians([0, 10, 40, 50, 88, 100])
PLANE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype("float32")
PLANE[0] = 1, 0
TRAIN = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
LABELS = np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture(scope="module")
def axes():
    """A model whose units are the axes of the plane and their opposites, of which one is active."""
    model = DenseAutoencoder(2, 4, KSparse(1), center=False)
    directions = np.array([[1, -1, 0, 0], [0, 0, 1, -1]], "float32")
    encode, decode = model.layers_around_code
    encode.set_weights([directions, np.zeros(4)])
    decode.set_weights([directions.T, np.zeros(2)])
    return model


def measured(model, **options):
    return retrieval(model, (TRAIN, None), (PLANE, LABELS), **{"neighbours": (1, 2), **options})


def test_recall_accuracy_and_bytes_by_hand(axes):
    result = measured(axes, k=[2])
    assert (result["items"], result["queries"]) == (6, 6)
    # Codes tell 0, 10, 40 from 50, 88, 100 degrees and nothing else; of equal items the first one is found. The nearest are
    # 10, 0, 50, 40, 100, 88 degrees, and the codes find 10, 0, 0, 88, 50, 50.
    explained = result["reconstruction"].pop("explained_variance")
    for way in ("code", "reconstruction"):
        assert result[way] == {"bytes": 4.0, "recall_1": pytest.approx(2 / 6), "recall_2": pytest.approx(10 / 12)}
    # The reconstruction is the larger coordinate; the smaller one, in absolute value, is lost.
    lost = np.square(np.abs(PLANE).min(axis=1)).sum() / np.square(PLANE - PLANE.mean(axis=0)).sum()
    assert explained == pytest.approx(1 - lost, abs=1e-3)
    assert result["k_2"]["reconstruction"]["explained_variance"] == pytest.approx(1, abs=1e-3)
    # Two entries are the vector itself. The item at 0 degrees has one entry.
    assert result["k_2"]["code"] == {"bytes": pytest.approx(44 / 6), "recall_1": 1.0, "recall_2": 1.0}
    assert result["dense"] == {"bytes": 8}
    assert set(result["milliseconds"]) == {"inverted_index", "dense", "inverted_index_batch", "dense_batch"}


def test_one_nearest_neighbour_by_hand(axes):
    data = (TRAIN, np.full(20, -1)), (PLANE, LABELS)
    result = retrieval(axes, *data, neighbours=[1])
    # By angle, 40 and 50 degrees are neighbours with different labels. By code they are not.
    assert result["dense"]["accuracy"] == pytest.approx(4 / 6)
    assert result["code"]["accuracy"] == 1.0
    # Of label 0 alone, all neighbours have it.
    assert retrieval(axes, *data, neighbours=[1], only_labels=[0])["dense"]["accuracy"] == 1.0
    # Items without a label are not asked: training items are nearer, and have none.
    assert retrieval(axes, *data, neighbours=[1], among="both")["dense"]["accuracy"] == pytest.approx(4 / 6)
    assert retrieval(axes, (PLANE, LABELS), (PLANE, LABELS), neighbours=[1], among="train")["dense"]["accuracy"] == 1.0


def test_gain_of_known_answers_by_hand(axes, tmp_path):
    queries = np.radians([4, 95])
    queries = np.stack([np.cos(queries), np.sin(queries)], axis=1).astype("float32")
    # The items nearest to 4 degrees are 0, 10, 40: the answer is third. To 95 degrees they are 100, 88: it is second.
    expected = (1 / np.log2(4) + 1 / np.log2(3)) / 2
    np.savez(tmp_path / "known.npz", queries=queries, relevant=[2, 4])
    for among in ("test", "both"):
        train = TRAIN if among == "test" else -PLANE[:3]  # opposite to what is asked for
        result = retrieval(
            axes,
            (train, None),
            (PLANE, None),
            neighbours=[1],
            among=among,
            relevances=str(tmp_path / "known.npz"),
        )
        assert result["dense"]["ndcg_10"] == pytest.approx(expected)
    assert measured(axes, relevances=(queries, np.array([2, 4])))["code"]["ndcg_10"] == pytest.approx(expected)


def test_measures_of_rankings_by_hand():
    assert largest(np.array([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    assert recall(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 9]])) == 0.75
    found = np.array([[5, 6, 7]])
    assert ndcg(found, np.array([[5, 6, 7]])) == pytest.approx(1)
    assert ndcg(found, np.array([[7, 8]])) == pytest.approx(0.5 / (1 + 1 / np.log2(3)))
    items, queries = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    for rows in (items, to_csr(items)):
        ((scores, _),) = scores_of(unit_rows(queries), unit_rows(rows), own=np.arange(7))
        assert np.isneginf(np.diag(scores)).all()
        cosines = queries @ items.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(items, axis=1)
        np.fill_diagonal(cosines, -np.inf)
        np.testing.assert_allclose(scores, cosines, rtol=1e-4)


def test_compressed_vectors_lose_what_they_must():
    random = np.random.default_rng(0)
    train = (random.normal(size=(400, 2)) @ random.normal(size=(2, 6)) + 1).astype("float32")  # a plane
    items = train[:50]
    spread = train.max(axis=0) - train.min(axis=0)
    restored, size = compression.pca_float16(train, items, 4)
    assert size == 4
    np.testing.assert_allclose(restored, items, atol=0.01)
    restored, size = compression.pca_int8(train, items, 2)
    assert (size, np.abs(restored - items).max() < 0.05) == (2, True)
    restored, size = compression.int8(train, items)
    assert (size, (np.abs(restored - items) <= spread / 510 + 1e-6).all()) == (6, True)
    restored, size = compression.signs(train, items)
    assert (size, len(np.unique(restored.round(4)[:, 0]))) == (1, 2)
    np.testing.assert_array_equal(restored > train.mean(axis=0), items > train.mean(axis=0))
    restored, size = compression.random_projection(train, items, 12)
    assert size == 12
    np.testing.assert_allclose(restored, items, atol=0.02)  # six directions of six
    few, many = (np.square(compression.random_signs(train, items, size)[0] - items).mean() for size in (1, 20))
    assert many < few


def test_product_quantisation_finds_vectors_that_are_centroids():
    pytest.importorskip("faiss", reason='product quantisation needs faiss: pip install "keras_sae[search]"')
    corners = np.array([[-1, -1, 5], [1, -1, 5], [1, 1, 5]], "float32")
    restored, size = compression.product_quantisation(np.tile(corners, (100, 1)), corners, 2)
    assert size == 2
    np.testing.assert_allclose(restored, corners, atol=0.02)  # faiss moves centroids that nothing is nearest to a little


def test_what_cannot_be_searched_is_refused(axes, tmp_path):
    for options, message in (
        ({"among": "all"}, "`among`"),
        ({"neighbours": [6]}, "`neighbours`.*5 items.*at most 5"),
        ({"k": [0]}, "`k`"),
        ({"k": [5]}, "`k`.*4"),
        ({"relevances": str(tmp_path / "none.npz")}, "does not exist"),
        ({"relevances": (PLANE, np.full(6, 6))}, "maximum of 6"),
        ({"relevances": (PLANE, np.arange(5))}, "shape"),
        ({"relevances": (PLANE, np.arange(6)), "among": "train"}, "not searched"),
    ):
        with pytest.raises(ValueError, match=message):
            measured(axes, **options)


def test_the_card_shows_it(axes):
    data = (TRAIN, None), (PLANE, LABELS)
    figures = evaluate(axes, *data, {"retrieval": {"k": [2], "neighbours": [1]}})["retrieval"]
    text = "\n".join(SUITES["retrieval"].section(figures, {}, {"input_shape": (2,), "data": {}}))
    assert "### Search: 6 test samples among 6 items" in text
    assert "| **sparse code** | 4 | 0.333 |" in text
    assert f"{figures['k_2']['reconstruction']['explained_variance']:.3f} |" in text
    assert "| **sparse code**, 2 entries | 7 | 1.000 |" in text
    other = {**figures, "milliseconds": {}, "product_quantisation": {"bytes": 2}}
    assert all(row[-1] for row in SUITES["retrieval"].compare(figures, other) if row[0] != ("product_quantisation",))
    # Cards of earlier versions have no explained variance, which is no difference.
    earlier = {name: value for name, value in figures["reconstruction"].items() if name != "explained_variance"}
    (row,) = (row for row in SUITES["retrieval"].compare(figures, {**figures, "reconstruction": earlier}) if row[2] is None)
    assert row[3]
    paths = SUITES["retrieval"].figures({"k": [2], "neighbours": [1]})
    assert {"code.recall_1", "k_2.pca_int8.recall_1", "dense.accuracy"} <= set(paths)
