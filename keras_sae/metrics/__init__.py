"""What is measured on a code: how many units fire, how strongly, and which never do."""

from keras_sae.metrics.code import L0, DeadUnits, MeanRate

__all__ = ["L0", "DeadUnits", "MeanRate"]
