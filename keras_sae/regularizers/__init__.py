"""Penalties that charge a code. Plain L1 and L2 are `keras.regularizers.L1` and `keras.regularizers.L2`."""

from keras_sae.regularizers.activity_kl import ActivityKL
from keras_sae.regularizers.activity_penalty import ActivityPenalty

__all__ = ["ActivityKL", "ActivityPenalty"]
