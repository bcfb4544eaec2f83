"""Layers that Keras lacks: selections, which zero entries of a code, and tied weights."""

from keras_sae.layers.k_sparse import KSparse
from keras_sae.layers.tied_dense import TiedDense

__all__ = ["KSparse", "TiedDense"]
