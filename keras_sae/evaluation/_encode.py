import collections
import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_sae._checks import check_integer
from keras_sae._pixels import as_input as as_input  # it is part of `keras_sae.evaluation`
from keras_sae.datasets import read_batches
from keras_sae.ops import stack_csr, to_csr, top_k

# Entries of the widest layer that are in memory at a time.
_MOST_ENTRIES = 2**25
_BATCH_SIZE = "counts the samples of a batch"
_USUAL_BATCH = 1000
# Where codes stay sparse, larger batches share the overhead of many short operations, and two are computed at a time because
# some of these run on one core.
_USUAL_SPARSE_BATCH = 4000
_AT_A_TIME = 2


def encode(model, x, batch_size=None, sparse=False):
    """The codes of `x` as a float32 array of shape `(n, ..., units)`, or as a sparse matrix.

    Args:
        model: A `SparseAutoencoder`, or an encoder, or the `features` of a model.
        x: Array of inputs, uint8 images or floats. uint8 is divided by 255. Or batches of them: a `tf.data.Dataset`,
            `PyDataset` or generator, of which labels and weights are ignored.
        batch_size: Integer, inputs per batch. By default at most 1,000, or 4,000 where no code is dense: as many as fit into
            memory.
        sparse: Whether to return a `scipy.sparse.csr_array` of shape `(n, entries)`, see
            `keras_sae.serving.to_csr`. Then the codes of one batch at a time are dense, or none for models whose
            `sparse_path` pays (see `docs/speed.md`).
    """
    _check_batch_size(batch_size)
    if _is_empty(x):
        return encode(model, _one_like(x), batch_size, sparse)[:0]
    if not sparse:
        return np.concatenate(list(_codes(model, x, batch_size)))
    made = []
    for width, batches in itertools.groupby(_entries(model, x, batch_size), _width):
        if width is None:
            made.extend(map(to_csr, batches))
        else:
            indices, values = map(np.concatenate, zip(*batches, strict=True))
            made.append(to_csr((indices, values), model.decoder.input_shape[-1]))
    return stack_csr(made)


def encode_top_k(model, x, k=None, batch_size=None):
    """The entries of each code with the largest magnitude, largest first, as the endpoint `encode_top_k` of an export.

    Args:
        model: A `SparseAutoencoder`, or an encoder.
        x: As in `encode`.
        k: Integer, at least 1 and at most the number of entries of a code. By default as many as a code keeps, for a model
            whose selection keeps a fixed number.
        batch_size: As in `encode`.

    Returns:
        `indices`, int32, and `values`, float32, both of shape `(n, k)`. Indices count the entries of a flattened code. A NaN
        counts as the largest. Where fewer than `k` entries are active, the rest has the value 0.

    Example:

    >>> model = DenseAutoencoder(6, 8, KSparse(2))
    >>> indices, values = encode_top_k(model, np.random.rand(3, 6).astype("float32"))
    >>> indices.shape, values.shape
    ((3, 2), (3, 2))
    """
    kept = getattr(model, "active_entries", None)
    if k is None and kept is None:
        raise ValueError(
            "`k` is the number of entries to return from each code. Give it for an encoder alone, and for models whose codes "
            "have no fixed number of active entries, such as this one. Received: k=None."
        )
    _check_batch_size(batch_size)
    if _is_empty(x):
        indices, values = encode_top_k(model, _one_like(x), k, batch_size)
        return indices[:0], values[:0]
    indices, values = [], []
    for codes in _entries(model, x, batch_size, least=k or 0):
        if isinstance(codes, tuple):
            order = np.lexsort((codes[0], -np.abs(codes[1])))[:, : k or kept]  # of equal ones the first
            for made, part in zip((indices, values), codes, strict=True):
                made.append(np.take_along_axis(part, order, axis=1))
            continue
        flat = codes.reshape(len(codes), math.prod(codes.shape[1:]))
        meaning = f"is the number of entries returned from each code of {flat.shape[1]},"
        count = check_integer("k", min(kept, flat.shape[1]) if k is None else k, meaning, at_most=flat.shape[1])
        strength = keras.ops.convert_to_tensor(np.where(np.isnan(flat), np.inf, np.abs(flat)))
        found = keras.ops.convert_to_numpy(top_k(strength, count)[1])
        indices.append(found)
        values.append(np.take_along_axis(flat, found, axis=1))
    return np.concatenate(indices), np.concatenate(values)


def decode_top_k(model, indices, values, batch_size=1000):
    """The reconstructions, float32 of shape `(n, ...)`, from entries of codes such as `encode_top_k` returns.

    Args:
        model: A `SparseAutoencoder`.
        indices: Integer array of shape `(n, k)`, indices into the flattened code. Values of equal indices add up.
        values: Float array of shape `(n, k)`.
        batch_size: Integer, codes per batch. The codes of one batch at a time are dense, or none for models whose
            `sparse_path` pays.
    """
    if not hasattr(model, "decoder"):
        raise TypeError(f"`model` needs a decoder, as a `SparseAutoencoder` has one. Received: a {type(model).__name__}.")
    batch_size = check_integer("batch_size", batch_size, _BATCH_SIZE)
    shape = model.decoder.input_shape[1:]
    if None in shape:
        raise ValueError(f"`decode_top_k` needs codes of a known size. Received: a model with codes of shape {shape}.")
    sparse = to_csr((indices, values), math.prod(shape))
    indices, values = np.asarray(indices, "int32"), np.asarray(values, "float32")
    outputs = [np.zeros((0, *model.output_shape[1:]), "float32")]
    for start in range(0, sparse.shape[0], batch_size):
        batch = slice(start, start + batch_size)
        decoded = model.decode_entries(values[batch], indices[batch])
        if decoded is None:
            decoded = model.decoder(sparse[batch].toarray().reshape(-1, *shape), training=False)
        outputs.append(keras.ops.convert_to_numpy(keras.ops.cast(decoded, "float32")))
    return np.concatenate(outputs)


def batches_of(model, x, batch_size=None, most_entries=_MOST_ENTRIES):
    """Batches of `x` as a model reads them, so small that the output of each of its layers fits into memory."""
    batch_size = batch_size or _USUAL_BATCH
    read = False
    for part in _parts(x):
        _check_samples(model, part)
        count = max(1, min(batch_size, most_entries // _widest(model, part)))
        for start in range(0, len(part), count):
            yield as_input(part[start : start + count])
            read = True
    if not read:
        raise ValueError("`x` has no samples. A generator can be read once only.")


def _check_batch_size(batch_size):
    if batch_size is not None:
        check_integer("batch_size", batch_size, _BATCH_SIZE)


def _is_empty(x):
    return hasattr(x, "shape") and len(x.shape) > 1 and x.shape[0] == 0


def _one_like(x):
    """One sample, because not every layer gives the right shape for none."""
    return np.zeros((1, *x.shape[1:]), keras.backend.standardize_dtype(x.dtype))


def _parts(x):
    """An array as it is, or the batches of a stream."""
    if hasattr(x, "shape") or isinstance(x, list | tuple):
        return [x if hasattr(x, "shape") else np.asarray(x)]
    return (batch for batch, _ in read_batches(x, most=math.inf, read=np.asarray)[0])


def _check_samples(model, x):
    shape = getattr(model, "input_shape", ())
    if (
        isinstance(shape, tuple)
        and x.ndim == len(shape) - 1
        and not any(size not in (None, given) for size, given in zip(shape[1:], x.shape, strict=True))
    ):
        raise ValueError(
            f"`x` holds samples of shape {shape[1:]} along its first axis. Received: shape {tuple(x.shape)}, which is one "
            "sample. Give `x[None]`, or batches of a data set."
        )


def _widest(model, x):
    """The entries of the widest output of a layer, also inside nested models, for one sample."""
    widest = 1
    for layer in getattr(model, "layers", ()):
        widest = max(widest, _widest(layer, x))
        for output in keras.tree.flatten(layer.output):
            sizes = output.shape[1:]
            # Maps of unknown size are at most as large as the images.
            known = [size or (x.shape[axis] if axis < x.ndim else 1) for axis, size in enumerate(sizes, start=1)]
            widest = max(widest, math.prod(known))
    return widest


def _entries(model, x, batch_size, least=0):
    """Of each batch, indices and values of the entries that stay, without dense codes, or the codes where that is not possible.

    Args:
        model, x, batch_size: As in `encode`.
        least: Integer, the number of entries that are wanted at least.
    """
    encoder = getattr(model, "encoder", model)
    if not getattr(model, "has_entries", False):
        yield from _codes(model, x, batch_size)
        return

    def of_batch(inputs):
        entries = model.encode_entries(inputs, least or None)
        if entries is None or entries[0].shape[1] < least or entries[2]:
            return next(_codes(model, inputs, len(inputs)))
        values, indices, _ = entries
        return keras.ops.convert_to_numpy(indices), keras.ops.convert_to_numpy(keras.ops.cast(values, "float32"))

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        made = collections.deque()
        for inputs in batches_of(encoder, x, batch_size or _USUAL_SPARSE_BATCH, _MOST_ENTRIES // _AT_A_TIME):
            made.append(pool.submit(of_batch, inputs))
            if len(made) > _AT_A_TIME:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()


def _width(batch):
    """How many entries of each code are in indices and values, or None for codes."""
    return batch[0].shape[1] if isinstance(batch, tuple) else None


def _codes(model, x, batch_size):
    """The codes of each batch, float32 arrays."""
    encoder = getattr(model, "encoder", model)
    for inputs in batches_of(encoder, x, batch_size):
        yield keras.ops.convert_to_numpy(keras.ops.cast(encoder(inputs, training=False), "float32"))
