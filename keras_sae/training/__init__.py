"""From a recipe to a checkpoint and its card."""

import lazy_loader

# A module loads when one of its names is first used: `__init__.pyi` says which names each module has.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# For the command line, not part of the public interface.
__all__ = [
    name
    for name in __all__
    if name not in {"COLUMNS", "check_overrides", "columns", "is_browsable", "is_complete", "read_recipe", "table", "toml"}
]
