"""What penalties that need the decoder see of a forward pass on the sparse path."""

from keras import ops

from keras_sae.models._decoding import Decoding, before_selections
from keras_sae.ops import entries_where
from keras_sae.regularizers import in_statistics_dtype

# From here on dense codes take as long, because they need the product again, with gradients; see docs/speed.md.
LEAST_UNITS_PER_ENTRY = 24


class SparseDecoding(Decoding):
    """Reconstructions from parts of the code, without dense codes; see `Decoding`.

    Args:
        path: The `SparsePath`.
        entries: Its `Entries`.
        most: The largest number of entries of a code that the path computes.
    """

    def __init__(self, path, entries, most, decoder, target, reconstruction, training, sample_weight=None):
        super().__init__(decoder, path.selection, None, entries.product[:, :0], target, reconstruction, training, sample_weight)
        self._path, self._entries, self._most = path, entries, most

    def of_largest(self, k, among=None):
        if k > self._most:
            self._competing = self._path.all_units(self._entries) if self._competing is None else self._competing
            return super().of_largest(k, among)
        return self._of_entries(*self._path.largest_of(self._entries, k, among))

    def of_prefix(self, units):
        _, _, _, _, values, rows, indices = self._entries
        return self._of_entries(**entries_where(indices < units, {"values": values, "rows": rows, "indices": indices}))

    def of_nothing(self):
        return in_statistics_dtype(self._path.decode_nothing(self._training))

    def fired(self):
        samples = ops.shape(self._code)[0]
        counted = ops.ones((samples,)) if self._code_weights is None else ops.cast(self._code_weights > 0, "float32")
        fires = ops.cast(self._entries.values != 0, "float32") * ops.take(counted, self._entries.rows)
        fires = ops.segment_sum(fires, self._entries.indices, self._path.units)
        return ops.concatenate([fires, ops.sum(counted, keepdims=True)])

    def _of_entries(self, values, indices, rows=None):
        batch = ops.shape(self._code)[0]
        return in_statistics_dtype(self._path.decode_entries(values, indices, rows, batch, self._training))


def decoding_of(model, made, target, outputs, training, sample_weight=None):
    """The `Decoding` of a forward pass of an autoencoder, or None where no penalty needs it."""
    if not model.objective.decodes:
        return None
    if "entries" in made:
        path = model.current_path()
        most = path.units - 1 if model.sparse_path else path.units // LEAST_UNITS_PER_ENTRY
        return SparseDecoding(path, made["entries"], most, model.decoder, target, outputs, training, sample_weight)
    selection = before_selections(model.encoder)[1]
    code, mask = made["codes"]["code"], made["masks"].get("code")
    return Decoding(model.decoder, selection, made["competing"], code, target, outputs, training, sample_weight, mask)
