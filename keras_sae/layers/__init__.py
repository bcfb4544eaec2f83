"""Layers that Keras lacks: selections, which zero entries of a code; decoders with tied weights; noise for denoising; sparse
coding with a dictionary; preprocessing that learns from data; encodings and pooling for classifiers."""

from keras_sae.layers._adapted import AdaptedLayer
from keras_sae.layers._batch_k_sparse import BatchKSparse
from keras_sae.layers._contrast import ContrastNormalization
from keras_sae.layers._deskew import Deskew
from keras_sae.layers._encodings import BothSigns, LargestShare, SoftKSparse, SoftThreshold, Triangle
from keras_sae.layers._fista import FISTA
from keras_sae.layers._gaussian_sample import GaussianSample
from keras_sae.layers._grid_pooling import GridPooling
from keras_sae.layers._k_sparse import KSparse
from keras_sae.layers._lista import LISTA
from keras_sae.layers._mean import AddMean, SubtractMean
from keras_sae.layers._mirror_average import MirrorAverage
from keras_sae.layers._moment_normalization import MomentNormalization
from keras_sae.layers._noise import MaskingNoise, SaltAndPepperNoise
from keras_sae.layers._oriented_gradients import OrientedGradients
from keras_sae.layers._partial_whitening import PartialWhitening
from keras_sae.layers._patches import Patches
from keras_sae.layers._power import Power
from keras_sae.layers._rotation_average import RotationAverage
from keras_sae.layers._selection import KSelection, Selection, selections_of
from keras_sae.layers._square_root import SquareRoot
from keras_sae.layers._standardize import Standardize
from keras_sae.layers._tied import TiedLayer, tying_to
from keras_sae.layers._tied_conv_transpose import TiedConvTranspose
from keras_sae.layers._tied_dense import TiedDense
from keras_sae.layers._top_k import keep, largest_of_rows, rows_across
from keras_sae.layers._whitening import ZCAWhitening
from keras_sae.layers._winner_take_all import WinnerTakeAll

# Not listed, because they are for the other packages of keras_sae: AdaptedLayer, KSelection, TiedLayer, keep, largest_of_rows,
# rows_across, selections_of, tying_to.
__all__ = [
    "FISTA",
    "LISTA",
    "AddMean",
    "BatchKSparse",
    "BothSigns",
    "ContrastNormalization",
    "Deskew",
    "GaussianSample",
    "GridPooling",
    "KSparse",
    "LargestShare",
    "MaskingNoise",
    "MirrorAverage",
    "MomentNormalization",
    "OrientedGradients",
    "PartialWhitening",
    "Patches",
    "Power",
    "RotationAverage",
    "SaltAndPepperNoise",
    "Selection",
    "SoftKSparse",
    "SoftThreshold",
    "SquareRoot",
    "Standardize",
    "SubtractMean",
    "TiedConvTranspose",
    "TiedDense",
    "Triangle",
    "WinnerTakeAll",
    "ZCAWhitening",
]
