"""Common ways to store vectors in few bytes, to compare sparse codes with. Each returns what is left of the vectors.

All take the training vectors, which they learn from, the vectors to store, and the bytes that a vector may take. They return
the vectors as they can be read back, and the bytes that each takes.
"""

import importlib.util

import numpy as np

from keras_sae.evaluation._pca import principal_components

_CENTROIDS = 256  # what a byte can count


def pca_float16(train, items, size):
    """As many principal components as fit, in float16."""
    pca = principal_components(train, max(size // 2, 1))
    stored = pca.coefficients(items).astype("float16").astype("float32")
    return stored @ pca.directions + pca.mean, 2 * stored.shape[1]


def pca_int8(train, items, size):
    """As many principal components as fit, in 8 bits each."""
    pca = principal_components(train, size)
    stored = _in_8_bits(pca.coefficients(train), pca.coefficients(items))
    return stored @ pca.directions + pca.mean, stored.shape[1]


def int8(train, items, size=None):
    """All entries, in 8 bits each."""
    return _in_8_bits(train, items), items.shape[1]


def signs(train, items, size=None):
    """The signs of all entries, less their mean."""
    return _from_signs(train, items, np.eye(items.shape[1], dtype="float32"))


def random_signs(train, items, size):
    """The signs of as many random projections as fit, one bit each."""
    return _from_signs(train, items, _orthogonal(items.shape[1], 8 * size))


def random_projection(train, items, size):
    """As many random projections as fit, in float16."""
    directions = _orthogonal(items.shape[1], min(max(size // 2, 1), items.shape[1]))
    return (items @ directions).astype("float16").astype("float32") @ directions.T, 2 * directions.shape[1]


def why_no_product_quantisation(vectors):
    """Why `product_quantisation` cannot learn from this many vectors, or "" if it can."""
    if importlib.util.find_spec("faiss") is None:
        return 'it needs faiss (pip install "keras_sae[search]")'
    return f"it needs {_CENTROIDS} training vectors" if vectors < _CENTROIDS else ""


def product_quantisation(train, items, size):
    """One byte for each part of the vector: the number of the nearest of 256 centroids (Jégou et al., 2011)."""
    import faiss

    parts = min(size, items.shape[1])
    padding = [(0, 0), (0, -items.shape[1] % parts)]
    quantiser = faiss.ProductQuantizer(items.shape[1] + padding[1][1], parts, 8)
    # By default, k-means for 128 parts takes minutes.
    quantiser.cp.max_points_per_centroid, quantiser.cp.niter = 32, 12
    quantiser.cp.min_points_per_centroid = 1  # no warning on standard error
    quantiser.train(np.pad(train, padding))
    return quantiser.decode(quantiser.compute_codes(np.pad(items, padding)))[:, : items.shape[1]], parts


def _in_8_bits(train, items):
    """Entries rounded to 256 levels between the lowest and the highest of each column of the training data."""
    low, high = train.min(axis=0), train.max(axis=0)
    step = np.maximum(high - low, 1e-30) / 255
    return np.clip(np.round((items - low) / step), 0, 255) * step + low


def _from_signs(train, items, directions):
    """The mean plus the directions with the signs of an item, at the scale with the least squared error on training data."""
    mean = train.mean(axis=0)

    def of(x):
        return np.where((x - mean) @ directions > 0, 1, -1).astype("float32") @ directions.T

    some = train[:5000]
    drawn = of(some)
    scale = ((some - mean) * drawn).sum() / max(np.square(drawn).sum(), 1e-30)
    return scale * of(items) + mean, -(-directions.shape[1] // 8)


def _orthogonal(size, count):
    """Random directions `(size, count)` of norm 1, orthogonal to each other in blocks of `size`."""
    random = np.random.default_rng(0)
    blocks = [np.linalg.qr(random.normal(size=(size, size)))[0] for _ in range(-(-count // size))]
    return np.concatenate(blocks, axis=1)[:, :count].astype("float32")
