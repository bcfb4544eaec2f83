"""The endpoints of an exported model, one per file. To add one, write its file and list it in `ENDPOINTS`."""

from keras_sae.serving._endpoints._anomaly_score import ANOMALY_SCORE
from keras_sae.serving._endpoints._decode import DECODE
from keras_sae.serving._endpoints._encode import ENCODE
from keras_sae.serving._endpoints._encode_top_k import ENCODE_TOP_K, check_top_k
from keras_sae.serving._endpoints._reconstruct import RECONSTRUCT
from keras_sae.serving._endpoints._signatures import signatures_of

ENDPOINTS = (
    ENCODE,
    ENCODE_TOP_K,
    DECODE,
    RECONSTRUCT,
    ANOMALY_SCORE,
)

__all__ = ["ENDPOINTS", "check_top_k", "signatures_of"]
