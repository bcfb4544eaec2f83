"""Sparse autoencoders for Keras.

Layers and penalties that make a code sparse, autoencoders built from them, pretrained encoders, and export to TF Serving.
"""

import importlib
import pathlib
import sys

from keras_sae._backend import load_keras
from keras_sae.version import __version__

__all__ = [
    "__version__",
    "anomaly",
    "callbacks",
    "datasets",
    "evaluation",
    "layers",
    "metrics",
    "models",
    "ops",
    "presets",
    "regularizers",
    "serving",
    "training",
    "visualization",
]


def __getattr__(name):
    # A package that is not loaded yet, as on the command line below.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_command_line():
    """Whether this process is the command `keras-sae`, in any of the ways that start it."""
    options = len(sys.orig_argv) - len(sys.argv)  # what is before the script, module or code that Python runs
    if not sys.argv or options < 0:  # a program that embeds Python or changed its arguments
        return False
    started = sys.orig_argv[options]
    if sys.argv[0] == "-m":  # while Python looks for the module
        return started.removeprefix("-m") in {"keras_sae", "keras_sae.cli"}
    if sys.argv[0] == "-c":
        return "keras_sae.cli" in started
    return pathlib.Path(started).stem == "keras-sae"


# The classes of the package register with Keras when they are imported, so that `keras.models.load_model` finds them after
# `import keras_sae`. The command line must answer before Keras is loaded: there, packages load when they are first used.
if not _is_command_line():
    load_keras()
    from keras_sae import (
        anomaly,
        callbacks,
        datasets,
        evaluation,
        layers,
        metrics,
        models,
        ops,
        presets,
        regularizers,
        serving,
        training,
        visualization,
    )
