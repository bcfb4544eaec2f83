"""Codes in the formats of search engines."""

import re

import numpy as np
import pytest
from scipy import sparse

from keras_sae.serving import sparse_vectors, to_csr

CODES = np.array([[0.0, 0.5, 0.0, 1.25], [0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 1 / 3, 0.0]], "float32")


def _sparse_codes(samples, entries, k):
    random = np.random.default_rng(0)
    codes = np.zeros((samples, entries), "float32")
    for row in codes:
        row[random.choice(entries, k, replace=False)] = random.random(k)
    return codes


@pytest.mark.parametrize("codes", [CODES, to_csr(CODES), CODES.reshape(3, 2, 2)], ids=["dense", "csr", "maps"])
def test_vectors_by_hand(codes):
    third = float(np.float32(1 / 3))
    assert sparse_vectors(codes, "qdrant") == [
        {"indices": [1, 3], "values": [0.5, 1.25]},
        {"indices": [], "values": []},
        {"indices": [0, 2], "values": [2.0, third]},
    ]
    assert sparse_vectors(codes, "elasticsearch") == [{"1": 0.5, "3": 1.25}, {}, {"0": 2.0, "2": third}]
    assert sparse_vectors(codes, "pgvector") == ["{2:0.5,4:1.25}/4", "{}/4", "{1:2.0,3:0.33333334}/4"]


def test_text_of_pgvector_keeps_every_bit():
    codes = _sparse_codes(20, 300, 30) * np.float32(1e-6)
    for text, code in zip(sparse_vectors(codes, "pgvector"), codes, strict=True):
        read = np.zeros(300, "float32")
        for index, value in re.findall(r"(\d+):([^,}]+)", text):
            read[int(index) - 1] = np.float32(value)
        np.testing.assert_array_equal(read, code)


def test_elasticsearch_gets_no_weights_that_lucene_refuses():
    assert sparse_vectors(np.array([[1e-40, 0.0, 1.5]], "float32"), "elasticsearch") == [{"2": 1.5}]  # not a normal float


def test_any_sparse_matrix_will_do_and_stays_as_it_is():
    codes = sparse.coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), (2, 3))  # an entry twice, and a stored zero
    assert sparse_vectors(codes, "qdrant") == [{"indices": [1], "values": [3.0]}, {"indices": [], "values": []}]
    assert sparse_vectors(to_csr(codes), "pgvector") == ["{2:3.0}/3", "{}/3"]
    assert codes.nnz == 3


def test_no_codes_are_no_vectors():
    assert sparse_vectors(CODES[:0], "qdrant") == []


@pytest.mark.parametrize(
    ("codes", "format", "message"),
    [
        (CODES, "qdrannt", "Did you mean 'qdrant'"),
        (np.where(CODES == 2, np.nan, CODES), "qdrant", "in code 2"),
        (np.where(CODES == 2, np.inf, CODES), "pgvector", "in code 2"),
        (-CODES, "elasticsearch", "weights above 0"),
        (np.ones((1, 16_001), "float32"), "pgvector", "16,000"),
        ((np.array([[1]]), np.array([[0.5]])), "qdrant", r"to_csr\(\(indices, values\), entries\)"),
        (CODES[0], "qdrant", r"codes\[None\]"),
    ],
)
def test_what_an_engine_does_not_store_is_refused(codes, format, message):
    with pytest.raises(ValueError, match=message):
        sparse_vectors(codes, format)


@pytest.mark.parametrize("kind", ["positive", "of both signs", "one entry", "with ties"])
def test_qdrant_ranks_as_exact_search_does(kind):
    qdrant = pytest.importorskip("qdrant_client", reason="pip install qdrant-client")
    models = qdrant.models
    codes, queries = (_sparse_codes(count, 100, 1 if kind == "one entry" else 5) for count in (300, 5))
    if kind == "of both signs":
        codes[:, ::2] *= -1
    elif kind == "with ties":
        codes, queries = np.ceil(3 * codes), np.ceil(3 * queries)
    codes[7] = queries[3] = 0
    client = qdrant.QdrantClient(":memory:")
    client.create_collection("codes", vectors_config={}, sparse_vectors_config={"code": models.SparseVectorParams()})
    points = enumerate(sparse_vectors(codes, "qdrant"))
    client.upsert("codes", [models.PointStruct(id=i, vector={"code": models.SparseVector(**each)}) for i, each in points])
    for query, vector in zip(queries, sparse_vectors(queries, "qdrant"), strict=True):
        found = client.query_points("codes", query=models.SparseVector(**vector), using="code", limit=300).points
        shared = np.flatnonzero(((codes != 0) & (query != 0)).any(axis=1))  # others are not found
        scores = codes @ query
        assert sorted(point.id for point in found) == shared.tolist()
        np.testing.assert_allclose([point.score for point in found], np.sort(scores[shared])[::-1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            [point.score for point in found], scores[[point.id for point in found]], rtol=1e-5, atol=1e-6
        )
