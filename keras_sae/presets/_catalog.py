import difflib
import re
from pathlib import Path

from keras_sae.presets import _remote
from keras_sae.presets._manifest import METADATA

_PACKAGE = Path(__file__).resolve().parent.parent

# The words for architectures in stems: a data set and a mechanism may hold underscores, as "fashion_mnist" does.
_STEM = re.compile(r"(.+?)_(dense|deep|stacked|conv|group|sparse_coding|variational)(?:_(.+))?")


def root():
    """The directory of the shipped presets: inside an installed package, beside it in a source checkout."""
    inside = _PACKAGE / "pretrained"
    return inside if inside.is_dir() else _PACKAGE.parent / "pretrained"


def names(data=None, architecture=None, mechanism=None):
    """Names of the presets that the package ships, sorted.

    A name is `<data set>_<architecture>_<mechanism>`. Each argument keeps the names that have it in its place.

    Args:
        data: A data set, such as `"fashion_mnist"`, or None for any.
        architecture: An architecture, such as `"dense"`, or None for any.
        mechanism: A mechanism, such as `"kl"`, or None for any.

    Raises:
        ValueError: No preset has that data set, architecture or mechanism. The message lists those that some preset has.

    Example:

    >>> "mnist_dense_ksparse" in names()
    True
    >>> "mnist_dense_ksparse" in names(data="fashion_mnist")
    False
    """
    found = sorted(path.parent.name for path in root().glob(f"*/{METADATA}"))
    wanted = {"data": data, "architecture": architecture, "mechanism": mechanism}
    parts = {name: dict(zip(wanted, parts_of(name), strict=True)) for name in found}
    for part, value in wanted.items():
        known = sorted({each[part] for each in parts.values() if each[part]})
        if value is not None and value not in known:
            raise ValueError(
                f"No preset of this package has {part}={value!r}. {_near(value, known)}"
                f"Known for `{part}`: {', '.join(known) or 'none'}."
            )
    return [name for name in found if all(value in (None, parts[name][part]) for part, value in wanted.items())]


def parts_of(name):
    """Data set, architecture and mechanism of the name of a preset. The mechanism is "" where the architecture implies it."""
    stem = _STEM.fullmatch(name)
    parts = stem.groups(default="") if stem else name.rsplit("_", 2)
    return (*parts, "", "")[:3]


def find(preset):
    """The directory of a preset.

    Args:
        preset: A name from `names()`; the path of a directory that `save_to_preset` wrote; or an address, `https://` or
            `hf://`, which is fetched first, see `keras_sae.presets._remote.fetch`.

    Raises:
        ValueError: There is no such preset. The message lists names that look alike.
        ConnectionError: The address could not be fetched.
    """
    if re.match(r"[A-Za-z]\w+://", str(preset)):
        return _remote.fetch(preset)
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
    raise ValueError(
        f"There is no preset named {str(preset)!r}, and no directory of that path. {_near(preset, names())}"
        f"The presets are: {', '.join(names()) or 'none'}."
    )


def _near(value, known):
    near = difflib.get_close_matches(str(value), known, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
