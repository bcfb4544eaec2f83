import contextlib
import hashlib
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from keras_sae._checks import check_integer
from keras_sae.datasets._growing_arrays import GrowingArrays
from keras_sae.datasets._tap import Tap, find_layers

_SECONDS = 10  # between two records of how far the work is
_POSITIONS = ("keep", "flatten", "mean")


def activations(model, layer, data, cache=None, positions="keep", mask=None, batch_size=32, dtype="float32", report=None):
    """What a layer of any Keras model computes for each input: data to train a sparse autoencoder on.

    The model runs at inference, a batch at a time. Results go to disk at once and come back as memory-mapped arrays, so only a
    batch is in memory. With a `cache`, a call that was interrupted goes on where it stopped, and a finished one is not computed
    again. Then the data is read once more, to make sure that it is the same.

    Args:
        model: Any Keras model: functional, sequential, subclassed, nested, from KerasHub or `keras.applications`.
        layer: Name of a layer, a layer, or a list of these. The name of a layer inside a nested model may be a path, such as
            `"backbone/block_3"`. A layer is called once by the model and has one output.
        data: Inputs, given to the model as they are, without scaling: an array; a dictionary or list of arrays, for models
            with several inputs; or a `tf.data.Dataset`, `PyDataset` or generator of batches, of which labels and weights are
            ignored. Give it unshuffled.
        cache: Folder for the result, `<layer>.npy` for each layer. None: a temporary file, which ends with the process. One
            process at a time fills a folder. Others that want the same wait for it (not on Windows).
        positions: What becomes of the axes between the first and the last, such as the tokens of a text or the height and
            width of a map. `"keep"`: they stay. `"flatten"`: each position becomes a row. `"mean"`: their mean.
        mask: Which positions count, for `"flatten"` and `"mean"`: the key of an input, such as `"padding_mask"`, or a
            function of a batch of inputs. Its values, of the shape `(batch, positions...)`, are 0 where a position is padding.
        batch_size: Integer, inputs per batch of arrays.
        dtype: `"float32"` or `"float16"`, what is stored. float16 halves the file and rounds to 3 digits.
        report: Function called with a sentence every ten seconds, such as `print`.

    Returns:
        A read-only array of shape `(n, ..., units)`, or `(n, units)` without positions; for a list of layers, a dictionary of
        them by the names that you gave.

    Raises:
        ValueError: There is no such layer, or it has not one output; or the cache belongs to another model, layer or data.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 3, name="maps"), keras.layers.Flatten()])
    >>> activations(model, "maps", np.ones((5, 4, 4, 1), "float32")).shape
    (5, 2, 2, 3)
    >>> activations(model, "maps", np.ones((5, 4, 4, 1), "float32"), positions="flatten").shape
    (20, 3)
    """
    _check(positions, mask, dtype)
    batch_size = check_integer("batch_size", batch_size, "counts the inputs of a batch")
    layers = find_layers(model, layer)
    settings = {
        "model_sha256": _fingerprint(model),
        "layers": list(layers),
        "positions": positions,
        "mask": mask if isinstance(mask, str | None) else getattr(mask, "__name__", "function"),
        "dtype": str(np.dtype(dtype)),
    }
    with contextlib.ExitStack() as stack:
        if cache is None:  # the mappings of the files stay when the folder is gone
            cache = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        say = report or (lambda sentence: None)
        files = stack.enter_context(GrowingArrays(Path(cache).expanduser(), list(layers), settings, say))
        arrays = _compute(files, model, layers, data, mask, batch_size, report)
    return arrays if isinstance(layer, list | tuple) else next(iter(arrays.values()))


def _check(positions, mask, dtype):
    if positions not in _POSITIONS:
        raise ValueError(f'`positions` must be "keep", "flatten" or "mean". Received: positions={positions!r}.')
    if mask is not None and positions == "keep":
        raise ValueError('`mask` says which positions count for `positions="flatten"` or "mean". Received: positions="keep".')
    if str(dtype) not in ("float32", "float16"):
        raise ValueError(f'`dtype` is what is stored, "float32" or "float16". Received: dtype={dtype!r}.')


def _compute(files, model, layers, data, mask, batch_size, report):
    """Fills the files with what is missing, and opens them."""
    tap, digest = Tap(model, list(layers.values())), _Digest()

    def results(inputs):
        kept = None if mask is None else np.asarray(mask(inputs) if callable(mask) else _key(inputs, mask))
        outputs = zip(layers, map(_as_numpy, tap.predict_on_batch(inputs)), strict=True)
        return {name: _arranged(name, each, files.settings["positions"], kept) for name, each in outputs}

    seen, recorded = 0, time.monotonic()
    for batch in _batches(data, batch_size):
        batch = keras.tree.map_structure(_as_numpy, batch)
        size = len(keras.tree.flatten(batch)[0])
        known = min(max(files.done - seen, 0), size)  # what an earlier call computed
        digest.update(_rows(batch, 0, known))
        if known and seen + known == files.done:
            files.check(digest.hexdigest())
        if known and seen == 0:
            _check_equal(files, results(_rows(batch, 0, min(known, 4))), min(known, 4))
        if known < size:
            if files.complete:
                files.refuse("was made of fewer inputs")
            rest = _rows(batch, known, size)
            digest.update(rest)
            for name, rows in results(rest).items():
                files.append(name, rows)
        seen += size
        if known < size and time.monotonic() - recorded > _SECONDS:
            files.record(seen, digest.hexdigest())
            recorded = time.monotonic()
            if report:
                report(f"Activations of {seen:,} inputs ...")
    if seen < files.done:
        files.refuse("was made of more inputs")
    if seen == 0:
        raise ValueError("`data` has no inputs.")
    return files.finish(seen, digest.hexdigest())


def _check_equal(files, results, inputs):
    """Refuses a cache whose first rows are not what the model computes now."""
    for name, rows in results.items():
        stored = files.first(name, inputs)
        if stored is not None and not np.allclose(stored, rows, rtol=0.01, atol=0.01 * np.abs(rows).max(initial=0)):
            files.refuse(f"has other activations of {name!r} than the model computes now for the same inputs")


def _arranged(name, output, positions, kept):
    """What a layer computed for a batch, with its positions as they shall be. `kept` is not 0 for those that count."""
    if output.ndim < 2:
        raise ValueError(f"`layer` needs units on the last axis. Received: {name!r}, with an output of shape {output.shape}.")
    if positions == "keep" or output.ndim == 2:
        return output
    if kept is not None and kept.size != output[..., 0].size:
        raise ValueError(
            f"`mask` has a value for each position, an array of shape {output.shape[:-1]} for layer {name!r}. "
            f"Received: shape {kept.shape}."
        )
    if positions == "flatten":
        rows = output.reshape(-1, output.shape[-1])
        return rows if kept is None else rows[kept.reshape(-1) != 0]
    rows = output.reshape(len(output), -1, output.shape[-1]).astype("float32")
    if kept is None:
        return rows.mean(axis=1)
    weights = (kept.reshape(len(output), -1, 1) != 0).astype("float32")
    return (rows * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)


class _Digest:
    """SHA-256 of inputs, of each part of a structure in its own order. The same however they are batched."""

    def __init__(self):
        self.parts = {}

    def update(self, batch):
        for index, part in enumerate(keras.tree.flatten(batch)):
            if index not in self.parts:
                self.parts[index] = hashlib.sha256(f"{part.dtype}{part.shape[1:]}".encode())
            self.parts[index].update(np.ascontiguousarray(part))

    def hexdigest(self):
        return hashlib.sha256("".join(part.hexdigest() for part in self.parts.values()).encode()).hexdigest()


def _fingerprint(model):
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
        digest.update(f"{array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()


def _batches(data, batch_size):
    """The batches of inputs of arrays or of a stream."""
    if hasattr(data, "parts"):  # it stays on disk
        yield from data.parts(batch_size)
    elif hasattr(data, "shape") or isinstance(data, dict | list | tuple):
        parts = keras.tree.flatten(data)
        if not all(hasattr(part, "shape") for part in parts) or len({len(part) for part in parts}) != 1:
            raise ValueError(
                "`data` is an array, or a dictionary or list of arrays of one length, or a data set of batches. "
                f"Received: {[getattr(part, 'shape', type(part).__name__) for part in parts]}."
            )
        for start in range(0, len(parts[0]), batch_size):
            yield _rows(data, start, start + batch_size)
    else:
        numbers = isinstance(data, keras.utils.PyDataset)
        for batch in (data[number] for number in range(data.num_batches)) if numbers else data:
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]


def _rows(batch, start, stop):
    return keras.tree.map_structure(lambda part: part[start:stop], batch)


def _as_numpy(values):
    return keras.ops.convert_to_numpy(values) if keras.ops.is_tensor(values) else np.asarray(values)


def _key(batch, mask):
    if not isinstance(batch, dict) or mask not in batch:
        given = f"the inputs {', '.join(batch)}" if isinstance(batch, dict) else "inputs without names"
        raise ValueError(f"`mask` is the key of an input, or a function of the inputs. Received: mask={mask!r}, with {given}.")
    return batch[mask]
