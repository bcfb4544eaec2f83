"""Metrics of a code (which units fire, how strongly, which never do) and of a reconstruction (how close it is)."""

from keras_sae.metrics._code import (
    ACTIVE_ABOVE as ACTIVE_ABOVE,
)  # for other packages; public as keras_sae.evaluation.ACTIVE_ABOVE
from keras_sae.metrics._code import L0, DeadUnits, HoyerSparsity, MeanRate, Rates
from keras_sae.metrics._code_metric import CodeMetric
from keras_sae.metrics._reconstruction import PSNR, ExplainedVariance

__all__ = ["L0", "PSNR", "CodeMetric", "DeadUnits", "ExplainedVariance", "HoyerSparsity", "MeanRate", "Rates"]
