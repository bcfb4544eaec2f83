"""What changes or watches a model during `fit`."""

from keras_sae.callbacks.k_schedule import KSchedule

__all__ = ["KSchedule"]
