"""Patches that `keras_sae.layers.Patches` has flattened, as pictures again."""

import itertools

import numpy as np

from keras_sae.layers import Patches


def patches_of(model):
    """The layer that cuts the inputs of a model into patches which its decoder reconstructs; None where there is none."""
    layers = [layer for layer in model.encoder.layers if isinstance(layer, Patches)]
    if len(layers) != 1 or model.preprocessing is None:
        return None
    return layers[0] if layers[0].output.shape[-1] == model.decoder.outputs[0].shape[-1] else None


def folded(layer, patches):
    """The images of which all patches `(n, *positions, entries)` were cut: each pixel is the mean over the patches with it."""
    count, *positions, _ = patches.shape
    patches = patches.reshape(count, *positions, *[layer.size] * len(positions), -1)
    sizes = [(number - 1) * layer.strides + layer.size for number in positions]
    images, covered = np.zeros((count, *sizes, patches.shape[-1]), "float32"), np.zeros((*sizes, 1), "float32")
    for corner in itertools.product(*map(range, positions)):
        window = tuple(slice(each * layer.strides, each * layer.strides + layer.size) for each in corner)
        images[(slice(None), *window)] += patches[(slice(None), *corner)]
        covered[window] += 1
    return images / np.maximum(covered, 1)
