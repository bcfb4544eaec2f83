"""Pretrained models in directories: found, verified, loaded and saved."""

from keras_sae.presets.catalog import find, names
from keras_sae.presets.manifest import read_metadata
from keras_sae.presets.storage import load, save

__all__ = ["find", "load", "names", "read_metadata", "save"]
