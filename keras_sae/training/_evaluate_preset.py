import math

from keras_sae.models import SparseAutoencoder
from keras_sae.training._publish import checksum, measure, read_data, recorded
from keras_sae.training._recipe import from_data

# How far a figure may be from the card's. float32 sums differ between machines, and with them single test images and units.
_RELATIVE = 1e-3
_PERCENT = 0.1
_SHARE = 0.01
# What was chosen on training images held out. Where two choices do as well, another machine may take the other.
_CHOICES = {"C", "encoding", "components"}


def evaluate_preset(preset, data_dir=None, suites=None, report=None, cache=None):
    """Measures a published preset again, on the data that its metadata names, and compares with its card.

    Error rates and their intervals agree within 0.1 percentage points, shares of features that are edges within 0.01, and
    other figures within 0.1 percent. Figures of networks that are trained again depend on the order in which a machine adds
    up: fine-tuned error rates agree where they lie in the interval of the card, and areas under the curve within 1 point, or 3
    for a single class. What was chosen, such as a penalty, is told and not compared.

    Args:
        preset: Name or directory of a preset that `publish` made.
        data_dir: Folder of the TFDS data.
        suites: List of names of the suites to measure. By default all that the card has.
        report: Called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary in which data, and figures that depend on these alone, are kept for the next preset.

    Returns:
        `(rows, equal)`: a list of `(name, measured, recorded, agrees)`, and whether all agree. Names are paths, such as
        "probe.labels_100.error".

    Raises:
        ValueError: The preset records no figures, or none of a suite that was asked for, or the data is not what it was
            measured on.
    """
    metadata = recorded(preset)
    figures = metadata["metrics"]
    suites = list(figures) if suites is None else list(suites)
    for name in suites:
        if name not in figures:
            raise ValueError(f"The card of {str(preset)!r} has no figures of {name!r}. It has those of {', '.join(figures)}.")
    recipe = from_data(metadata["recipe"])
    data = read_data(recipe, data_dir, cache)
    for split, pair in zip(("train", "test"), data, strict=True):
        expected, found = metadata["data"][f"{split}_sha256"], checksum(*pair)
        if expected != found:
            raise ValueError(
                f"The split {recipe.data[split]!r} of {recipe.data['name']!r} is not the data that {str(preset)!r} was "
                f"measured on. Expected SHA-256: {expected}. Found: {found}."
            )
    model = SparseAutoencoder.from_preset(preset)
    measured = dict(flat(measure(model, recipe, data, suites, report, cache)))
    card = dict(flat({name: figures[name] for name in suites}))
    rows = [(path, measured.get(path), value, _agrees(path, measured.get(path), card)) for path, value in card.items()]
    rows += [(path, value, None, False) for path, value in measured.items() if path not in card]
    return rows, all(row[-1] for row in rows)


def flat(figures, above=()):
    """Pairs of the path of a figure, such as "probe.interval.0", and the figure. What was chosen is not taken apart."""
    for name, value in figures.items():
        path = (*above, str(name))
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, dict) and name not in _CHOICES:
            yield from flat(value, path)
        else:
            yield ".".join(path), value


def _agrees(path, measured, card):
    recorded = card[path]
    suite, *_, figure = names = path.split(".")
    if figure in _CHOICES:
        return True
    if measured is None or recorded is None:
        return measured is recorded
    if suite == "finetune":
        # A network trained again: its error lies in the card's interval, whose own bounds are not figures of the model.
        place = ".".join(names[: -2 if names[-2] == "interval" else -1])
        low, high = (card[f"{place}.interval.{end}"] for end in (0, 1))
        return figure != "error" or low <= measured <= high
    if suite == "anomaly":
        return math.isclose(measured, recorded, abs_tol=3 if names[1] == "classes" else 1)
    if figure == "error" or "interval" in names:
        return math.isclose(measured, recorded, abs_tol=_PERCENT)
    if "gabor" in names:
        return math.isclose(measured, recorded, abs_tol=_SHARE)
    return math.isclose(measured, recorded, rel_tol=_RELATIVE)
