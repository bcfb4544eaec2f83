"""Pretrained models in directories: finds, verifies, loads and saves them."""

import lazy_loader

# A module loads when one of its names is first used: `__init__.pyi` says which names each module has.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# For other packages, not part of the public interface.
_FOR_PACKAGES = {"add_files", "check_finite", "holds", "is_unchanged", "read_files", "rewrite"}
__all__ = [name for name in __all__ if name not in _FOR_PACKAGES]
