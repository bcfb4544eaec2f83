import difflib
from pathlib import Path

from keras_sae.presets.manifest import METADATA

_PACKAGE = Path(__file__).resolve().parent.parent


def root():
    """The directory of the shipped presets: inside an installed package, beside it in a source checkout."""
    inside = _PACKAGE / "pretrained"
    return inside if inside.is_dir() else _PACKAGE.parent / "pretrained"


def names():
    """Names of the presets that the package ships, sorted.

    Example:

    >>> "mnist_dense_ksparse" in names()
    True
    """
    return sorted(path.parent.name for path in root().glob(f"*/{METADATA}"))


def find(preset):
    """The directory of a preset.

    Args:
        preset: A name from `names()`, or the path of a directory that `save_to_preset` wrote.

    Raises:
        ValueError: There is no such preset. The message lists names that look alike.
    """
    if str(preset) in names():
        return root() / str(preset)
    directory = Path(preset).expanduser()
    if (directory / METADATA).is_file():
        return directory
    if directory.is_dir():
        raise ValueError(
            f"The directory {str(directory)!r} is not a preset: it has no {METADATA}. A preset is written by "
            "`model.save_to_preset(directory)`."
        )
    near = difflib.get_close_matches(str(preset), names(), n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(
        f"There is no preset named {str(preset)!r}, and no directory of that path. {hint}"
        f"The presets are: {', '.join(names()) or 'none'}."
    )
