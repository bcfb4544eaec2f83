"""The endpoints of an exported model, one per file."""

import importlib

from keras_sae.serving._endpoints._encode_top_k import check_top_k
from keras_sae.serving._endpoints._signatures import signatures_of

# In the order in which an export lists them. The module `_NAME` defines `ENDPOINT`.
_NAMES = (
    "encode",
    "encode_top_k",
    "decode",
    "decode_top_k",
    "reconstruct",
    "anomaly_score",
    "features",
    "detect",
    "anomaly_map",
)
ENDPOINTS = tuple(importlib.import_module(f"{__name__}._{name}").ENDPOINT for name in _NAMES)

__all__ = ["ENDPOINTS", "check_top_k", "signatures_of"]
