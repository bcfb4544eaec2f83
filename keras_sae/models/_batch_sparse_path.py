"""The sparse path of a `BatchKSparse`, which keeps a different number of entries of each sample."""

import keras
from keras import ops

from keras_sae.distributed import replica_count
from keras_sae.layers import BatchKSparse
from keras_sae.models._sparse_path import SparsePath, end_of
from keras_sae.ops import (
    at_least,
    dense_entries,
    entries_matmul,
    entries_of_dense,
    flat_entries,
    has_nan,
    largest_of_many,
    reaching_of_dense,
    to_dense,
    without_nan,
)


def path_of(encoder, decoder, codes=()):
    """The sparse path of a model; see `SparsePath`."""
    batch = type(end_of(encoder)[1]) is BatchKSparse
    return (BatchSparsePath if batch else SparsePath)(encoder, decoder, codes)


class BatchSparsePath(SparsePath):
    """Runs `decoder(encoder(x))` by the entries that a `BatchKSparse` keeps; see `SparsePath`.

    The entries of all samples are in one list, in the order of the samples. Their number is known in training, `k` for each
    sample; at inference it depends on the data. Where it is too large, the layers run as they are.
    """

    def applies(self):
        on_tensorflow = keras.backend.backend() == "tensorflow"  # the number of entries of a code depends on the data
        return on_tensorflow and super().applies() and not (self.selection.synchronized and replica_count() > 1)

    def __call__(self, inputs, training, wants_code, most, decodes=False):
        made = self.before(inputs, training=training)
        selection, layer = self.selection, self._product(made["hidden"])
        scores, doubtful = _scores(layer[-1])
        selects = training and selection.trainable
        samples = ops.shape(scores)[0]
        current = ops.convert_to_tensor(selection.current_k)
        count = current * samples if selects else self._number_of_winners(scores)

        def by_entries():
            flat = ops.reshape(scores, (-1,))
            if selects:
                places, smallest = largest_of_many(flat, count)
                places = ops.sort(places)
            else:
                places, smallest = self._winners(flat), 0.0
            outputs, code, entries = self._by_entries(layer, places, doubtful, wants_code, training)
            return outputs, code, ops.cast(self.encode.activation(smallest), "float32"), entries

        def by_layers():
            code, smallest = self._all_units(None, layer), ops.zeros((), "float32")
            if selects:
                kept, smallest = selection.select_of_batch(code, without_nan(ops.stop_gradient(code)))
                code = ops.where(ops.isnan(code), code, kept)
            else:
                code = selection(code, training=False)
            return self.decoder(code, training=training), code, smallest, entries_of_dense(code) if decodes else {}

        def either(made_by):
            outputs, code, smallest, entries = made_by()
            entries = entries if decodes else {}
            return {"outputs": outputs, "smallest": smallest, **({"code": code} if wants_code else {}), **entries}

        found = ops.cond(count <= most * samples, lambda: either(by_entries), lambda: either(by_layers))
        smallest = found.pop("smallest")
        if selects:
            selection.move_threshold(smallest)
        return self._results(found, made["codes"], layer)

    def encode_entries(self, inputs, k, most):
        hidden = self.before(inputs, training=False)["hidden"]
        if k is not None:  # of positive entries, the strongest are the largest
            values, indices, doubtful = self._largest(hidden, k)
            values = ops.where(ops.cast(values, "float32") >= self.selection.threshold, values, ops.zeros_like(values))
            return values, indices, ops.logical_or(doubtful, ops.convert_to_tensor(self.selection.threshold) < 0)
        bound = ops.convert_to_tensor(self.selection.threshold)
        values, indices, doubtful = reaching_of_dense(*self._layer(hidden), bound, most)
        return self._activated(values), indices, doubtful

    def _entries_at(self, layer, places, transposed=None):
        """The entries of the code at indices into the flattened code: values, rows and units."""
        hidden, kernel, bias, product = layer
        rows, indices = places // self.units, places % self.units
        values = self.encode.activation(dense_entries(hidden, kernel, bias, product, indices, transposed, rows))
        return ops.cast(values, self.selection.compute_dtype), rows, indices

    def _by_entries(self, layer, places, doubtful, wants_code, training):
        kernel, product = self._decoding_kernel(), layer[-1]
        values, rows, indices = self._entries_at(layer, places, kernel if self._shares_kernel() else None)
        samples, code = ops.shape(product)[0], None
        if wants_code:
            code = to_dense(values, indices, self.units, rows, samples)
            nan = ops.cast(float("nan"), code.dtype)
            code = ops.cond(doubtful, lambda: ops.where(ops.isnan(product), nan, code), lambda: code)
        outputs = entries_matmul(ops.cast(values, self.decode.compute_dtype), indices, kernel, rows, samples)
        outputs = ops.cond(doubtful, lambda: outputs + _nan_of_rows(product, outputs.dtype), lambda: outputs)
        return self._finish(outputs, training), code, flat_entries(values, indices, rows)

    def _winners(self, scores):
        """The indices of the scores that stay at inference, in order."""
        return at_least(ops.cast(scores, "float32"), ops.convert_to_tensor(self.selection.threshold))

    def _number_of_winners(self, scores):
        stay = ops.cast(scores, "float32") >= ops.convert_to_tensor(self.selection.threshold)
        return ops.sum(ops.cast(stay, "int32"))


def _scores(product):
    """A product without NaN, and whether there may have been one."""
    doubtful = has_nan(product)
    return ops.cond(doubtful, lambda: without_nan(product), lambda: product), doubtful


def _nan_of_rows(product, dtype):
    """A column that is NaN for rows that have one, and 0 for others."""
    doubtful = ops.any(ops.isnan(product), axis=-1, keepdims=True)
    return ops.where(doubtful, ops.cast(float("nan"), dtype), ops.cast(0, dtype))
