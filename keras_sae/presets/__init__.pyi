from ._catalog import find, names
from ._finite import check_finite
from ._manifest import CARD, is_unchanged, read_metadata
from ._replace import add_files, rewrite, seal
from ._storage import holds, load, load_reference, read_files, save

__all__ = ["CARD", "find", "load", "load_reference", "names", "read_metadata", "save", "seal"]
