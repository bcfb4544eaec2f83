"""Sparse autoencoders for Keras.

Layers and penalties that make a code sparse, autoencoders built from them, pretrained encoders, and export to TF Serving.
"""

from keras_sae import (
    callbacks,
    datasets,
    evaluation,
    layers,
    metrics,
    models,
    presets,
    regularizers,
    serving,
    training,
    visualization,
)
from keras_sae.version import __version__

__all__ = [
    "__version__",
    "callbacks",
    "datasets",
    "evaluation",
    "layers",
    "metrics",
    "models",
    "presets",
    "regularizers",
    "serving",
    "training",
    "visualization",
]
