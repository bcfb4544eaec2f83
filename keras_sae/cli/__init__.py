"""The command `keras-sae`: one module per command. It loads Keras only where a command needs it."""

from keras_sae.cli._main import main

__all__ = ["main"]
