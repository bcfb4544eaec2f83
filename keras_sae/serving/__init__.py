"""Export of models to TF Serving and to other runtimes, and of codes to search engines."""

from keras_sae.ops import to_csr
from keras_sae.serving._assets import read_description
from keras_sae.serving._formats import export_detector, export_encoder
from keras_sae.serving._saved_model import export
from keras_sae.serving._sparse_vectors import sparse_vectors
from keras_sae.serving._verify import verify_export

__all__ = ["export", "export_detector", "export_encoder", "read_description", "sparse_vectors", "to_csr", "verify_export"]
