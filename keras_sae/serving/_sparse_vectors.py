import numpy as np

from keras_sae._checks import nearest
from keras_sae.ops import to_csr

_MOST_OF_SPARSEVEC = 16_000  # entries of a sparsevec that are not zero


def sparse_vectors(codes, format):
    """Codes as a search engine stores sparse vectors, a list with one for each sample.

    | format | a vector | rules of the engine |
    |---|---|---|
    | `"qdrant"` | `{"indices": [2, 7], "values": [0.5, 1.5]}` | indices from 0; the fields of `models.SparseVector` |
    | `"elasticsearch"` | `{"2": 0.5, "7": 1.5}` | a `sparse_vector` field; weights above 1.2e-38; stored with 9 bits |
    | `"pgvector"` | `"{3:0.5,8:1.5}/1000"` | text of a `sparsevec(1000)`; indices from 1; at most 16,000 entries |

    All three rank by the dot product of a query's code with the stored codes, if you ask them to. Qdrant and Elasticsearch,
    which have an inverted index, find only codes that share a unit with the query. Values keep the precision of float32.

    Args:
        codes: Array of shape `(n, ..., units)`, whose rows are flattened; or a SciPy sparse matrix of shape `(n, entries)`, as
            `encode(..., sparse=True)` and `to_csr` return.
        format: `"qdrant"`, `"elasticsearch"` or `"pgvector"`.

    Raises:
        ValueError: A code has a NaN or an infinite value; or the engine refuses its values or their number.

    Example:

    >>> codes = np.array([[0.0, 0.5, 0.0, 1.5]])
    >>> sparse_vectors(codes, "qdrant")
    [{'indices': [1, 3], 'values': [0.5, 1.5]}]
    >>> sparse_vectors(codes, "elasticsearch")
    [{'1': 0.5, '3': 1.5}]
    >>> sparse_vectors(codes, "pgvector")
    ['{2:0.5,4:1.5}/4']

    Reference:
        The documentation of Qdrant ("Sparse vectors"), Elasticsearch ("Sparse vector field type") and pgvector ("Sparse
        vectors").
    """
    if format not in _FORMATS:
        raise ValueError(
            f"`format` is the search engine that reads the vectors: {', '.join(map(repr, _FORMATS))}. "
            f"{nearest(str(format), _FORMATS)}Received: format={format!r}."
        )
    if isinstance(codes, tuple | dict):
        raise ValueError(
            "`codes` is an array or a sparse matrix. Received: indices and values. Make a matrix of them by "
            "`to_csr((indices, values), entries)`, with `entries` the width of a code."
        )
    matrix = to_csr(codes).copy()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all():
        row = int(np.searchsorted(matrix.indptr, np.flatnonzero(~np.isfinite(matrix.data))[0], side="right")) - 1
        raise ValueError(f"Search engines store finite numbers only. Received: a NaN or an infinite value in code {row}.")
    write = _FORMATS[format]
    parts = np.split(matrix.indices, matrix.indptr[1:-1]), np.split(matrix.data, matrix.indptr[1:-1])
    rows = zip(*parts, strict=True) if matrix.shape[0] else ()
    return [write(indices, values, matrix.shape[1]) for indices, values in rows]


def _qdrant(indices, values, entries):
    return {"indices": indices.tolist(), "values": values.tolist()}


def _elasticsearch(indices, values, entries):
    if (values < 0).any():
        raise ValueError(
            "A sparse_vector field of Elasticsearch stores weights above 0. Received: a code with the value "
            f"{values.min():.4g}. Drop negative entries, as codes.maximum(0) of a sparse matrix does; or train with "
            'activation="relu"; or use another engine.'
        )
    normal = values >= np.finfo("float32").tiny  # Lucene refuses smaller ones
    return dict(zip(map(str, indices[normal].tolist()), values[normal].tolist(), strict=True))


def _pgvector(indices, values, entries):
    if len(values) > _MOST_OF_SPARSEVEC:
        raise ValueError(
            f"A sparsevec of pgvector has at most {_MOST_OF_SPARSEVEC:,} entries that are not zero. Received: a code with "
            f"{len(values):,}."
        )
    pairs = (f"{index + 1}:{value!s}" for index, value in zip(indices.tolist(), values, strict=True))
    return "{" + ",".join(pairs) + f"}}/{entries}"


_FORMATS = {"qdrant": _qdrant, "elasticsearch": _elasticsearch, "pgvector": _pgvector}
