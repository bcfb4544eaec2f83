"""What changes or watches a model during `fit`."""

from keras_sae.callbacks.dead_units import DeadUnitMonitor
from keras_sae.callbacks.schedule import KSchedule, PenaltySchedule

__all__ = ["DeadUnitMonitor", "KSchedule", "PenaltySchedule"]
