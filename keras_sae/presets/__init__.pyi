from ._catalog import find, names
from ._manifest import CARD, read_metadata
from ._storage import load, load_reference, rewrite, save

__all__ = ["CARD", "find", "load", "load_reference", "names", "read_metadata", "save"]
