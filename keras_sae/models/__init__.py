"""Architectures: each a `SparseAutoencoder`, trained with `fit`."""

from keras_sae.models.convolutional import ConvolutionalAutoencoder
from keras_sae.models.deep import DeepAutoencoder
from keras_sae.models.dense import DenseAutoencoder
from keras_sae.models.sparse_autoencoder import SparseAutoencoder
from keras_sae.models.sparse_coding import SparseCodingAutoencoder
from keras_sae.models.stacked import StackedAutoencoder
from keras_sae.models.variational import VariationalAutoencoder

__all__ = [
    "ConvolutionalAutoencoder",
    "DeepAutoencoder",
    "DenseAutoencoder",
    "SparseAutoencoder",
    "SparseCodingAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
]
