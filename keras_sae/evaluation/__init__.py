"""How the numbers of a card are computed, for one's own models too. Needs scikit-learn for the probe and for PCA."""

from keras_sae.evaluation.code_statistics import ACTIVE_ABOVE, as_input, code_statistics, encode
from keras_sae.evaluation.compare import compare, mechanisms
from keras_sae.evaluation.evaluate import evaluate
from keras_sae.evaluation.gabor import gabor, gabor_fit
from keras_sae.evaluation.linear_comparison import compare_with_pca
from keras_sae.evaluation.probe import probe
from keras_sae.evaluation.support_overlap import support_overlap
from keras_sae.evaluation.swiss_roll import swiss_roll

__all__ = [
    "ACTIVE_ABOVE",
    "as_input",
    "code_statistics",
    "compare",
    "compare_with_pca",
    "encode",
    "evaluate",
    "gabor",
    "gabor_fit",
    "mechanisms",
    "probe",
    "support_overlap",
    "swiss_roll",
]
