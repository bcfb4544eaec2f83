"""Codes as sparse matrices."""

import math

import numpy as np


def to_csr(codes, entries=None):
    """Codes as a `scipy.sparse.csr_array` of shape `(n, entries)`, float32: a row for each sample, zeros left out.

    `scipy.sparse.save_npz` stores it, scikit-learn reads it, and `queries @ codes.T` is a search through an inverted index.

    Args:
        codes: Array of shape `(n, ..., units)`, whose rows are flattened; or a sparse matrix. Or what `encode_top_k` returns,
            in Python or from a server: a pair `(indices, values)` or a dictionary of both, each of shape `(n, k)`.
        entries: Integer, the number of entries of a flattened code. For indices and values only, which do not tell it.

    Example:

    >>> to_csr(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])).nnz
    3
    >>> to_csr((np.array([[2, 0]]), np.array([[5.0, 1.0]])), entries=4).toarray().tolist()
    [[1.0, 0.0, 5.0, 0.0]]
    """
    from scipy import sparse

    if sparse.issparse(codes):
        return sparse.csr_array(codes, dtype="float32")
    if isinstance(codes, dict):
        codes = codes["indices"], codes["values"]
    if not isinstance(codes, tuple):
        codes = np.asarray(codes)
        if codes.ndim < 2 or entries is not None:
            raise ValueError(
                "Dense codes have the shape (n, ..., units) and tell their number of entries themselves. "
                f"Received: an array of shape {codes.shape}, entries={entries}. Give one code as `codes[None]`."
            )
        width = math.prod(codes.shape[1:])
        return sparse.csr_array(codes.reshape(len(codes), width).astype("float32", copy=False))
    indices, values = (np.asarray(part) for part in codes)
    if entries is None:
        raise ValueError("Indices and values do not tell the number of `entries` of a code. Received: entries=None.")
    if indices.ndim != 2 or indices.shape != values.shape or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            "`indices` and `values` have the same shape (n, k), the indices integers. "
            f"Received: {indices.dtype} of shape {indices.shape}, and values of shape {values.shape}."
        )
    if indices.size and not (indices.min() >= 0 and indices.max() < entries):
        raise ValueError(
            f"Indices into a code of {entries} entries are at least 0 and at most {entries - 1}. "
            f"Received: {indices.min()} to {indices.max()}."
        )
    integers = "int32" if max(indices.size, entries) < 2**31 else "int64"  # half of the memory
    starts = np.arange(0, indices.size + 1, max(indices.shape[1], 1), dtype=integers)[: len(indices) + 1]
    parts = values.astype("float32").ravel(), indices.astype(integers).ravel(), starts  # copies, which are sorted below
    matrix = sparse.csr_array(parts, (len(indices), int(entries)))
    matrix.sum_duplicates()  # sorts the indices of each row too
    matrix.eliminate_zeros()
    return matrix


def stack_csr(matrices):
    """One matrix of the rows of several."""
    from scipy import sparse

    matrices = list(matrices)
    return matrices[0] if len(matrices) == 1 else sparse.vstack(matrices, format="csr")
