from ._catalog import find, names
from ._finite import check_finite
from ._manifest import CARD, is_unchanged, read_metadata
from ._replace import rewrite, seal
from ._storage import load, load_reference, save

__all__ = ["CARD", "find", "load", "load_reference", "names", "read_metadata", "save", "seal"]
