"""Architectures: each a `SparseAutoencoder`, trained with `fit`."""

from keras_sae.models.deep import DeepAutoencoder
from keras_sae.models.dense import DenseAutoencoder
from keras_sae.models.sparse_autoencoder import SparseAutoencoder

__all__ = ["DeepAutoencoder", "DenseAutoencoder", "SparseAutoencoder"]
