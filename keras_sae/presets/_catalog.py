import re
from pathlib import Path

from keras_sae._checks import nearest
from keras_sae.presets import _remote
from keras_sae.presets._manifest import METADATA, read_metadata

_PACKAGE = Path(__file__).resolve().parent.parent
# Presets of earlier releases, and what to use in their place.
RETIRED = {
    "color_patches_dense_kl": "'cifar10_conv_kl' shows a KL penalty on colour patches",
    "fashion_mnist_conv_wta": "'fashion_mnist_conv_ksparse' has better features, and 'mnist_conv_wta' shows winner-take-all",
    "fashion_mnist_deep_l1": "'fashion_mnist_dense_ksparse' has better features, and 'mnist_dense_l1' shows an L1 penalty",
    "mnist_group_l21": "'mnist_dense_ksparse' has better features, and `keras_sae.regularizers.GroupL21` trains such a model",
}


def root():
    """The directory of the shipped presets: inside an installed package, or next to it in a source checkout."""
    inside = _PACKAGE / "pretrained"
    return inside if inside.is_dir() else _PACKAGE.parent / "pretrained"


def names(data=None, architecture=None, mechanism=None):
    """Names of the presets that the package ships, sorted.

    A name is usually `<data set>_<architecture>_<mechanism>`. The metadata of a preset says what its parts are. Each argument
    keeps the presets that have this part.

    Args:
        data: A data set, such as `"fashion_mnist"`, or None for any.
        architecture: `"dense"`, `"deep"`, `"stacked"`, `"conv"`, `"sparse_coding"`, `"variational"`, or None for any.
        mechanism: What makes the code sparse, such as `"kl"`, or None for any.

    Raises:
        ValueError: No preset has that data set, architecture or mechanism. The message lists the known ones.

    Example:

    >>> "mnist_dense_ksparse" in names()
    True
    >>> "mnist_dense_ksparse" in names(data="fashion_mnist")
    False
    """
    found = sorted(path.parent.name for path in root().glob(f"*/{METADATA}"))
    wanted = {"data": data, "architecture": architecture, "mechanism": mechanism}
    wanted = {part: value for part, value in wanted.items() if value is not None}
    if not wanted:
        return found
    parts = {name: read_metadata(root() / name, verify=False).get("parts", {}) for name in found}
    for part, value in wanted.items():
        known = sorted({each[part] for each in parts.values() if each.get(part)})
        if value not in known:
            raise ValueError(
                f"No preset of this package has {part}={value!r}. {nearest(value, known)}"
                f"Known for `{part}`: {', '.join(known) or 'none'}."
            )
    return [name for name in found if wanted.items() <= parts[name].items()]


def find(preset):
    """The directory of a preset.

    Args:
        preset: A name from `names()`, the path of a directory that `save_to_preset` wrote, or an `https://` or `hf://` address.
            A preset at an address is downloaded to a cache: `https://host/path`, or `hf://owner/repository[/folder]
            [@revision]` on the Hugging Face Hub. With `#sha256=` and a `metadata_sha256` at its end, an address accepts only
            that preset.

    Raises:
        ValueError: There is no such preset. The message suggests similar names, or what replaces a retired one.
        ConnectionError: The preset cannot be downloaded.
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
            f"The directory {str(directory)!r} is not a preset: it has no {METADATA}. `model.save_to_preset(directory)` writes "
            "a preset."
        )
    if str(preset) in RETIRED:
        raise ValueError(f"The preset {str(preset)!r} is no longer in the package: {RETIRED[str(preset)]}.")
    raise ValueError(
        f"There is no preset named {str(preset)!r}, and no directory at that path. {nearest(preset, names())}"
        f"The presets are: {', '.join(names()) or 'none'}."
    )
