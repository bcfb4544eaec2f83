"""The hand-off to TF Serving."""

from keras_sae.serving.saved_model import export

__all__ = ["export"]
