"""Masks of codes, from layers such as `keras.layers.Masking` in an encoder."""

import keras
from keras import ops


class PositionMask(keras.layers.Layer):
    """Gives the mask that came with a code as numbers: 1 at steps that count, 0 at padded ones.

    Attributes:
        found: Whether there is a mask, known once the layer was called.
    """

    def call(self, code, mask=None):
        self.found = mask is not None
        return ops.cast(mask, "float32") if self.found else ops.ones(ops.shape(code)[:-1])

    def compute_mask(self, inputs, previous_mask):
        return None


def masks_of(codes):
    """The symbolic masks of those codes that have one, by their names."""
    masks = {}
    for name, code in codes.items():
        layer = PositionMask(dtype="float32")
        mask = layer(code)
        if layer.found:
            masks[name] = mask
    return masks
