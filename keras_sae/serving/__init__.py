"""The hand-off to TF Serving, and to other runtimes."""

from keras_sae.serving.hand_off import read_description
from keras_sae.serving.other_formats import export_encoder
from keras_sae.serving.saved_model import export
from keras_sae.serving.verify import verify_export

__all__ = ["export", "export_encoder", "read_description", "verify_export"]
