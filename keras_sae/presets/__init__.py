"""Pretrained models in directories: found, verified, loaded and saved."""

import lazy_loader

# A module loads when one of its names is first used: `__init__.pyi` says which names each module has.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
