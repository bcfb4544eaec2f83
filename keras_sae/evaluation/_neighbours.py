"""Nearest neighbours by dot product, and how well they agree with the true ones."""

import numpy as np

# Entries of scores that are in memory at a time.
_MOST_ENTRIES = 2**25


def unit_rows(x):
    """Rows divided by their norms, float32. Rows of zeros stay. Takes arrays and sparse matrices."""
    if not hasattr(x, "tocsr"):
        x = np.asarray(x, "float32").reshape(len(x), -1)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    rows = x.tocsr(copy=True)
    norms = np.sqrt(rows.multiply(rows).sum(axis=1))
    rows.data /= np.repeat(np.maximum(norms, 1e-30), np.diff(rows.indptr)).astype("float32")
    return rows


def scores_of(queries, items, own=None):
    """Yields the dot products of some queries with all items, and a slice: which queries.

    Args:
        queries: Array `(m, d)` or sparse matrix.
        items: Array `(n, d)` or sparse matrix.
        own: Integer array `(m,)`, the item that is the query itself, which nobody searches for. Its score is minus infinity.
    """
    turned = items.T.tocsr() if hasattr(items, "tocsr") else items.T
    count = max(1, _MOST_ENTRIES // items.shape[0])
    for start in range(0, queries.shape[0], count):
        rows = slice(start, min(start + count, queries.shape[0]))
        scores = queries[rows] @ turned
        scores = scores.toarray() if hasattr(scores, "toarray") else scores
        if own is not None:
            scores[np.arange(len(scores)), own[rows]] = -np.inf
        yield scores, rows


def largest(scores, count):
    """The columns of the largest entries of each row, `(m, count)`, largest first. Of equal ones, the first column first."""
    found = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def recall(found, wanted):
    """The mean share of each row of `wanted` that is in the same row of `found`. Both are integer arrays of one shape.

    Example:

    >>> recall(np.array([[1, 2], [5, 6]]), np.array([[2, 1], [6, 7]]))
    0.75
    """
    return float((found[:, :, None] == wanted[:, None, :]).any(axis=1).mean())


def ndcg(found, relevant):
    """The normalised discounted cumulative gain of ranked lists, averaged over queries.

        DCG = sum over ranks r = 1, 2, ... of [the item at rank r is relevant] / log2(1 + r)

    divided by that of the best list of the same length.

    Args:
        found: Integer array `(m, length)`, items by rank.
        relevant: Integer array `(m, most)`, the relevant items of each query. -1 fills rows that have fewer.

    Example:

    >>> round(ndcg(np.array([[7, 3, 5]]), np.array([[3, -1]])), 4)      # 1 / log2(3)
    0.6309

    Reference:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002.
    """
    discounts = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    hits = (found[:, :, None] == np.where(relevant < 0, -2, relevant)[:, None, :]).any(axis=2)
    best = np.array([discounts[:count].sum() for count in (relevant >= 0).sum(axis=1)])
    return float((hits @ discounts / best).mean())
