"""Architectures: each a `SparseAutoencoder`, trained with `fit`."""

from keras_sae.models.dense import DenseAutoencoder
from keras_sae.models.sparse_autoencoder import SparseAutoencoder

__all__ = ["DenseAutoencoder", "SparseAutoencoder"]
