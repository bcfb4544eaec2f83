from ._anomaly import anomaly, auroc
from ._bootstrap import bootstrap_interval
from ._code_statistics import ACTIVE_ABOVE, as_input, code_statistics, encode
from ._compare import compare, mechanisms
from ._denoise import denoise, psnr
from ._features import coherence, features
from ._finetune import finetune
from ._gabor import gabor, gabor_fit
from ._linear_comparison import compare_with_pca
from ._probe import probe
from ._probe_encoder import probe_encoder
from ._readout import reader
from ._suites import SUITES, evaluate
from ._support_overlap import support_overlap
from ._swiss_roll import swiss_roll
from ._transfer import transfer

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
