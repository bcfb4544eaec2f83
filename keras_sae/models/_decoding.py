"""What penalties that need the decoder see of a forward pass."""

import math

import keras
from keras import ops

from keras_sae.layers import Selection, keep, largest_of_rows, rows_across
from keras_sae.regularizers import DecodedPenalty, in_statistics_dtype, position_count, position_weights, weighted


def before_selections(encoder):
    """The symbolic tensor that the selections at the end of an encoder read, and the first of them, or None."""
    makes = {id(layer.output): layer for layer in encoder.layers if not isinstance(layer, keras.layers.InputLayer)}
    tensor, first = encoder.outputs[0], None
    while isinstance(layer := makes.get(id(tensor)), Selection | keras.layers.Identity):
        first = layer if isinstance(layer, Selection) else first
        tensor = layer.input
    return tensor, first


class Decoding:
    """Reconstructions from parts of the code of one forward pass; see `keras_sae.regularizers.DecodedPenalty`.

    Args:
        decoder: The decoder.
        selection: The first selection of the encoder, or None.
        competing: What it reads, `(batch, ..., units)`.
        code: What the decoder reads.
        target: What the reconstruction is compared with.
        reconstruction: What the decoder made of the code.
        training: Whether the model is in training.
        sample_weight: None, or weights of samples or positions.
        mask: None, or the mask of the steps of the code.
    """

    def __init__(self, decoder, selection, competing, code, target, reconstruction, training, sample_weight=None, mask=None):
        self._decoder, self._selection, self._training = decoder, selection, training
        self._competing, self._code = competing, code
        self.target, self.reconstruction = in_statistics_dtype(target), in_statistics_dtype(reconstruction)
        self._weights = position_weights(self.target, sample_weight, mask)
        self.positions = position_count(self.target, self._weights)
        self._code_weights = position_weights(code, sample_weight, mask)
        self.silent = None

    @property
    def entries(self):
        """How many entries of the target there are for each position of the code."""
        positions = self._code.shape[1:-1]
        if None in positions or None in self.target.shape[1:]:
            return self.target.shape[-1]
        return math.prod(self.target.shape[1:]) // math.prod(positions)

    def sum(self, values):
        """The weighted sum over positions: a scalar, or a vector of values that have the last axis of the target too."""
        return ops.sum(weighted(values, self._weights), axis=tuple(range(len(self.target.shape) - 1)))

    def of_largest(self, k, among=None):
        """The reconstruction from the `k` entries of each position that are largest before the selection."""
        scores = ops.stop_gradient(self._competing)
        scores = scores if self._selection is None else self._selection.score(scores)
        lowest = ops.cast(float("-inf"), scores.dtype)
        scores = ops.where(ops.isnan(scores), lowest, scores)
        competing = self._competing
        if among is not None:
            scores = ops.where(among, scores, lowest)
            competing = ops.where(among, competing, ops.zeros_like(competing))
        rows, places = rows_across(scores, "units")
        return self._decode(keep(competing, places(largest_of_rows(rows, k)[1])))

    def of_prefix(self, units):
        """The reconstruction from the code with only its first units."""
        return self._decode(ops.where(ops.arange(self._code.shape[-1]) < units, self._code, ops.zeros_like(self._code)))

    def of_nothing(self):
        """The reconstruction from a code of zeros, of batch size 1."""
        return self._decode(ops.zeros_like(self._code[:1]))

    def fired(self):
        """For each unit, at how many positions it fires; and the number of positions, as the last entry."""
        fires = ops.cast(self._code != 0, "float32")
        counted = ops.ones_like(fires[..., :1])
        if self._code_weights is not None:
            counted = counted * ops.expand_dims(ops.cast(self._code_weights > 0, "float32"), -1)
        fires = ops.concatenate([fires * counted, counted], axis=-1)
        return ops.sum(fires, axis=tuple(range(len(fires.shape) - 1)))

    def _decode(self, code):
        return in_statistics_dtype(self._decoder(code, training=self._training))


def check_decoded(objective, code, selection):
    """Raises ValueError where a penalty that needs the decoder charges another code than the decoder reads, or not this one."""
    for name, penalty in zip(objective.codes, objective.penalties, strict=True):
        if isinstance(penalty, DecodedPenalty):
            if name != "code":
                raise ValueError(
                    f"{type(penalty).__name__} compares reconstructions, so it charges the code that the decoder reads. "
                    f"Received: the code {name!r}. Give it as `sparsity={{'code': [...]}}`."
                )
            penalty.check_code(code, selection)
