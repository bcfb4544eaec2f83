"""Callbacks that change or watch a model during `fit`."""

from keras_sae.callbacks._dead_units import DeadUnitMonitor
from keras_sae.callbacks._schedule import KSchedule, PenaltySchedule

__all__ = ["DeadUnitMonitor", "KSchedule", "PenaltySchedule"]
