"""Architectures. Each is a `SparseAutoencoder`, trained with `fit`."""

from keras_sae.models._convolutional import ConvolutionalAutoencoder
from keras_sae.models._deep import DeepAutoencoder
from keras_sae.models._dense import DenseAutoencoder
from keras_sae.models._sparse_autoencoder import SparseAutoencoder
from keras_sae.models._sparse_coding import SparseCodingAutoencoder
from keras_sae.models._stacked import StackedAutoencoder
from keras_sae.models._starting_units import samples_of, set_units, start_from_samples
from keras_sae.models._variational import VariationalAutoencoder

# Not listed, because they are for the other packages of keras_sae: samples_of, set_units.
__all__ = [
    "ConvolutionalAutoencoder",
    "DeepAutoencoder",
    "DenseAutoencoder",
    "SparseAutoencoder",
    "SparseCodingAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "start_from_samples",
]
