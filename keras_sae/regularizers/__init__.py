"""Penalties that charge a code. Plain L1 and L2 are `keras.regularizers.L1` and `keras.regularizers.L2`."""

from keras_sae.regularizers._activity_kl import ActivityKL
from keras_sae.regularizers._activity_log import ActivityLog
from keras_sae.regularizers._activity_penalty import ActivityPenalty, penalty_name, totals_of, value_or_zero
from keras_sae.regularizers._activity_target import ActivityTargetL1, ActivityTargetL2
from keras_sae.regularizers._auxiliary_k import AuxiliaryK
from keras_sae.regularizers._contrast import Contrast
from keras_sae.regularizers._decoded_penalty import DecodedPenalty
from keras_sae.regularizers._gaussian_kl import GaussianKL
from keras_sae.regularizers._group_l21 import GroupL21, check_labels
from keras_sae.regularizers._of_keras import as_penalty
from keras_sae.regularizers._positions import in_statistics_dtype, position_count, position_weights, weighted
from keras_sae.regularizers._several_k import NestedPrefixes, SeveralK

# Not listed, because they are for the other packages of keras_sae: what models and metrics need to take sums over codes.
__all__ = [
    "ActivityKL",
    "ActivityLog",
    "ActivityPenalty",
    "ActivityTargetL1",
    "ActivityTargetL2",
    "AuxiliaryK",
    "Contrast",
    "DecodedPenalty",
    "GaussianKL",
    "GroupL21",
    "NestedPrefixes",
    "SeveralK",
]
