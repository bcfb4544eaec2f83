"""Penalties that charge a code. Plain L1 and L2 are `keras.regularizers.L1` and `keras.regularizers.L2`."""

from keras_sae.regularizers._activity_kl import ActivityKL
from keras_sae.regularizers._activity_log import ActivityLog
from keras_sae.regularizers._activity_penalty import ActivityPenalty
from keras_sae.regularizers._activity_target import ActivityTargetL1, ActivityTargetL2
from keras_sae.regularizers._gaussian_kl import GaussianKL
from keras_sae.regularizers._group_l21 import GroupL21

__all__ = ["ActivityKL", "ActivityLog", "ActivityPenalty", "ActivityTargetL1", "ActivityTargetL2", "GaussianKL", "GroupL21"]
