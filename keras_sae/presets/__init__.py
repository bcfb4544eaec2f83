"""Pretrained models in directories: found, verified, loaded and saved."""

from keras_sae.presets._catalog import find, names
from keras_sae.presets._manifest import read_metadata
from keras_sae.presets._storage import CARD, load, load_reference, save

__all__ = ["CARD", "find", "load", "load_reference", "names", "read_metadata", "save"]
