"""Export of models to TF Serving and to other runtimes."""

from keras_sae.serving._assets import read_description
from keras_sae.serving._formats import export_detector, export_encoder
from keras_sae.serving._saved_model import export
from keras_sae.serving._verify import verify_export

__all__ = ["export", "export_detector", "export_encoder", "read_description", "verify_export"]
