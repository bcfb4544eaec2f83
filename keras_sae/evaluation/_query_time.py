"""How long a search takes: by an inverted index of sparse codes, and by the product with all vectors."""

import time

import numpy as np

_QUERIES = 100


def query_times(queries, items, query_codes, item_codes, count=10):
    """Milliseconds per query, from a query's vector or code to the `count` nearest items.

    The inverted index is SciPy's product of sparse matrices: of each unit it lists the items in whose code the unit is active,
    and a query adds up the lists of its own units. The other way is the product with the matrix of all vectors.

    Args:
        queries: Array `(m, d)`. At most 100 are timed.
        items: float32 array `(n, d)`.
        query_codes, item_codes: Sparse matrices of the same queries and items.
        count: Integer, the neighbours that are wanted.

    Returns:
        Dictionary of `inverted_index` and `dense`, the median of one query at a time; and `inverted_index_batch` and
        `dense_batch`, the mean of all of them in one product.
    """
    queries, query_codes = np.ascontiguousarray(queries[:_QUERIES]), query_codes[:_QUERIES].tocsr()
    count = min(count, len(items))
    lists = item_codes.T.tocsr()  # for each unit, the items in whose code it is active

    def by_product(rows):
        return np.argpartition(-(queries[rows] @ items.T), count - 1, axis=1)[:, :count]

    def by_lists(rows):
        scores = query_codes[rows] @ lists
        return [
            scores.indices[start + np.argpartition(-scores.data[start:end], min(count, end - start) - 1)[:count]]
            for start, end in zip(scores.indptr[:-1], scores.indptr[1:], strict=True)
            if end > start
        ]

    result = {}
    for name, search in (("inverted_index", by_lists), ("dense", by_product)):
        singly = [_milliseconds(search, slice(row, row + 1)) for row in range(len(queries))]
        result[name] = round(float(np.median(singly)), 3)
        result[f"{name}_batch"] = round(_milliseconds(search, slice(None)) / len(queries), 3)
    return result


def _milliseconds(search, rows):
    started = time.perf_counter()
    search(rows)
    return 1000 * (time.perf_counter() - started)
