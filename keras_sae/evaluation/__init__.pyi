from ._anomaly import anomaly, auroc
from ._bootstrap import bootstrap_interval
from ._code_statistics import ACTIVE_ABOVE, code_statistics
from ._compare import compare, mechanisms
from ._denoise import denoise, psnr
from ._encode import as_input, decode_top_k, encode, encode_top_k
from ._feature_file import features_on_disk
from ._features import coherence, features
from ._finetune import finetune
from ._gabor import gabor, gabor_fit
from ._localization import aupro, average_precision
from ._outlier_detectors import outlier_detectors
from ._pca import compare_with_pca
from ._probe import probe
from ._probe_encoder import probe_encoder
from ._readout import reader, readout
from ._retrieval import retrieval
from ._suites import SUITES, evaluate
from ._support_overlap import support_overlap
from ._swiss_roll import swiss_roll
from ._top_inputs import top_inputs
from ._transfer import transfer
from ._units import units

__all__ = [
    "ACTIVE_ABOVE",
    "SUITES",
    "anomaly",
    "as_input",
    "aupro",
    "auroc",
    "average_precision",
    "bootstrap_interval",
    "code_statistics",
    "coherence",
    "compare",
    "compare_with_pca",
    "decode_top_k",
    "denoise",
    "encode",
    "encode_top_k",
    "evaluate",
    "features",
    "features_on_disk",
    "finetune",
    "gabor",
    "gabor_fit",
    "mechanisms",
    "outlier_detectors",
    "probe",
    "probe_encoder",
    "psnr",
    "reader",
    "readout",
    "retrieval",
    "support_overlap",
    "swiss_roll",
    "top_inputs",
    "transfer",
    "units",
]
