import warnings

import numpy as np

from keras_sae.evaluation import SUITES
from keras_sae.models import SparseAutoencoder
from keras_sae.training._checksum import checksum
from keras_sae.training._publish import measure, read_data, recorded
from keras_sae.training._recipe import from_data


def evaluate_preset(preset, data_dir=None, suites=None, report=None, cache=None):
    """Measures a published preset again and compares the figures with its card.

    Figures vary between processors. Errors of a probe, and the ends of their intervals, must agree within a third of the width
    of the card's interval, or 0.1 percentage points where that is more; shares of Gabor features within 0.01, and other figures
    within 0.1 percent. Suites that train networks vary more: a fine-tuned error must lie in the interval of the card, and areas
    under the curve must agree within 1 point, or 3 for a single class. Choices, such as the penalty of a probe, are shown but
    not compared. The suites in `keras_sae.evaluation` define these tolerances.

    Args:
        preset: Name or directory of a preset that `publish` made.
        data_dir: Folder of the TFDS data.
        suites: List of names of the suites to measure. By default all suites of the card.
        report: Function called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary that keeps data, and figures of the data alone, for the next preset.

    Returns:
        `(rows, equal)`: a list of `(name, measured, recorded, agrees)`, and whether all agree. Names are paths such as
        "probe.labels_100.error".

    Raises:
        ValueError: The preset records no figures, or none of a requested suite, or the data differs from the data that it was
            measured on. Floating-point data of the same size is measured with a warning: vectors that a network gives vary
            between processors.
    """
    metadata = recorded(preset)
    figures = metadata["metrics"]
    suites = list(figures) if suites is None else list(suites)
    for name in suites:
        if name not in figures:
            raise ValueError(f"The card of {str(preset)!r} has no figures of {name!r}. It has figures of {', '.join(figures)}.")
    recipe = from_data(metadata["recipe"])
    data = read_data(recipe, data_dir, cache)
    _check_data(metadata, data)
    model = SparseAutoencoder.from_preset(preset)
    measured = measure(model, recipe, data, suites, report, cache)
    rows = [
        (".".join((name, *path)), *figures_and_verdict)
        for name in suites
        for path, *figures_and_verdict in SUITES[name].compare(measured[name], figures[name])
    ]
    return rows, all(row[-1] for row in rows)


def _check_data(metadata, data):
    """Raises a ValueError for other data than a preset was measured on. Warns where only digits of vectors may differ."""
    known, others = metadata["data"], []
    for split, (images, labels) in zip(("train", "test"), data, strict=True):
        expected, found = known[f"{split}_sha256"], checksum(images, labels)
        if expected == found:
            continue
        count = known[f"{split}_examples"]
        if len(images) != count or not np.issubdtype(images.dtype, np.floating):
            raise ValueError(
                f"The split {known[split]!r} of {known['name']!r} differs from the data that {metadata['name']!r} was measured "
                f"on. Expected: {count} examples, SHA-256 {expected}. Found: {len(images)}, {found}. Check the data directory."
            )
        others.append(repr(known[split]))
    if others:
        warnings.warn(
            f"{known['name']!r}, {' and '.join(others)}, is not in every digit the data that {metadata['name']!r} was measured "
            "on. Computed vectors, such as whitened patches or those of a network, have other last digits on another "
            "processor. If the figures differ by more than a little, check the data directory.",
            stacklevel=3,
        )
