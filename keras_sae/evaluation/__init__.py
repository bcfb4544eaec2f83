"""How the numbers of a card are computed, for one's own models too. Needs scikit-learn for the probe."""

from keras_sae.evaluation.code_statistics import code_statistics, encode
from keras_sae.evaluation.compare import compare, mechanisms
from keras_sae.evaluation.evaluate import evaluate
from keras_sae.evaluation.probe import probe

__all__ = ["code_statistics", "compare", "encode", "evaluate", "mechanisms", "probe"]
