"""Sparse codes as a search index stores them: the strongest entries, values in float16."""

import math

import keras
import numpy as np

from keras_sae.evaluation._encode import encode, encode_top_k
from keras_sae.layers import KSparse
from keras_sae.ops import to_csr


class StoredCodes:
    """Encodes inputs at several numbers of entries in one pass.

    Args:
        model: A `SparseAutoencoder`.
        ks: Numbers of entries. Where the encoder ends in a `KSparse` across units, they may exceed what it keeps.
    """

    def __init__(self, model, ks):
        self.model = model
        self.ks = ks
        self.encoder, self.by_value = _wider(model, max([*ks, model.active_entries or 0]))
        self.shape = None

    def __call__(self, x):
        """A dictionary of sparse matrices: the code as it is, under "", and under "k_8" its 8 strongest entries."""
        self.shape = self.encoder.compute_output_shape((1, *x.shape[1:]))[1:]
        kept = self.model.active_entries
        counts = {"": kept, **{f"k_{k}": k for k in self.ks}} if kept else {f"k_{k}": k for k in self.ks}
        result = {} if kept else {"": _rounded(encode(self.model, x, sparse=True))}
        if not counts:
            return result
        indices, values = encode_top_k(self.encoder, x, max(counts.values()))
        if self.by_value:
            order = np.argsort(-values, axis=1, kind="stable")
            indices, values = (np.take_along_axis(each, order, axis=1) for each in (indices, values))
        entries = math.prod(self.shape)
        return result | {name: _rounded(to_csr((indices[:, :k], values[:, :k]), entries)) for name, k in counts.items()}

    def bytes_per_item(self, codes):
        """Bytes of an index and a float16 for each entry, averaged over codes."""
        return (2 + (2 if codes.shape[1] <= 2**16 else 4)) * codes.nnz / codes.shape[0]

    def decode(self, codes, batch_size=1000):
        """The reconstructions `(n, ...)` of the codes in a sparse matrix."""
        result = []
        for start in range(0, codes.shape[0], batch_size):
            dense = codes[start : start + batch_size].toarray().reshape(-1, *self.shape)
            result.append(keras.ops.convert_to_numpy(keras.ops.cast(self.model.decoder(dense, training=False), "float32")))
        return np.concatenate(result)


def _wider(model, k):
    """An encoder whose selection keeps at least `k` entries, and whether its entries compete by value; else the model's own."""
    last = model.selections[-1] if model.active_entries else None
    if not isinstance(last, KSparse) or last.across != "units" or len(last.output.shape) != 2:
        return model.encoder, False
    if k <= last.kept:
        return model.encoder, last.select_by == "value"
    selection = KSparse(min(k, last.competitors), select_by=last.select_by)
    return keras.Model(model.encoder.inputs[0], selection(last.input)), last.select_by == "value"


def _rounded(codes):
    """Codes with values rounded to float16, at a scale that float16 has."""
    scale = np.float32(2.0 ** np.ceil(np.log2(max(np.abs(codes.data).max(initial=0), 1e-30))))
    codes.data = (codes.data / scale).astype("float16").astype("float32") * scale
    return codes
