"""How the numbers of a card are computed, for one's own models too. Probes and PCA need scikit-learn."""

from keras_sae.evaluation._anomaly import anomaly, auroc
from keras_sae.evaluation._bootstrap import bootstrap_interval
from keras_sae.evaluation._code_statistics import ACTIVE_ABOVE, as_input, code_statistics, encode
from keras_sae.evaluation._compare import compare, mechanisms
from keras_sae.evaluation._denoise import denoise, psnr
from keras_sae.evaluation._features import coherence, features
from keras_sae.evaluation._finetune import finetune
from keras_sae.evaluation._gabor import gabor, gabor_fit
from keras_sae.evaluation._linear_comparison import compare_with_pca
from keras_sae.evaluation._probe import probe
from keras_sae.evaluation._probe_encoder import probe_encoder
from keras_sae.evaluation._readout import reader
from keras_sae.evaluation._suites import SUITES, evaluate
from keras_sae.evaluation._support_overlap import support_overlap
from keras_sae.evaluation._swiss_roll import swiss_roll
from keras_sae.evaluation._transfer import transfer

__all__ = [
    "ACTIVE_ABOVE",
    "SUITES",
    "anomaly",
    "as_input",
    "auroc",
    "bootstrap_interval",
    "code_statistics",
    "coherence",
    "compare",
    "compare_with_pca",
    "denoise",
    "encode",
    "evaluate",
    "features",
    "finetune",
    "gabor",
    "gabor_fit",
    "mechanisms",
    "probe",
    "probe_encoder",
    "psnr",
    "reader",
    "support_overlap",
    "swiss_roll",
    "transfer",
]
