"""Layers that Keras lacks: selections, which zero entries of a code; decoders with tied weights; noise for denoising; sparse
coding in a dictionary."""

from keras_sae.layers.batch_k_sparse import BatchKSparse
from keras_sae.layers.fista import FISTA
from keras_sae.layers.gaussian_sample import GaussianSample
from keras_sae.layers.k_sparse import KSparse
from keras_sae.layers.lista import LISTA
from keras_sae.layers.noise import MaskingNoise, SaltAndPepperNoise
from keras_sae.layers.tied_conv_transpose import TiedConvTranspose
from keras_sae.layers.tied_dense import TiedDense
from keras_sae.layers.winner_take_all import WinnerTakeAll

__all__ = [
    "FISTA",
    "LISTA",
    "BatchKSparse",
    "GaussianSample",
    "KSparse",
    "MaskingNoise",
    "SaltAndPepperNoise",
    "TiedConvTranspose",
    "TiedDense",
    "WinnerTakeAll",
]
