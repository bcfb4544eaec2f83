"""Measures models: the suites that fill a card, and what they are made of. Probes and PCA need scikit-learn."""

import lazy_loader

# A module loads when one of its names is first used: `__init__.pyi` says which names each module has.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
