import math

from keras_sae import evaluation, presets
from keras_sae.models import SparseAutoencoder
from keras_sae.training.publish import checksum, read_data
from keras_sae.training.recipe import from_data

# How far a figure may be from the card's: float32 sums differ between machines, and with them single test images.
_RELATIVE = 1e-3
_PERCENT = 0.1


def evaluate_preset(preset, data_dir=None, report=None):
    """Measures a published preset again, on the data that its metadata names, and compares with its card.

    Args:
        preset: Name or directory of a preset that `publish` made.
        data_dir: Folder of the TFDS data.
        report: Called with a sentence before each step that takes long, such as `print`.

    Returns:
        `(rows, equal)`: a list of `(name, measured, recorded, agrees)`, and whether all agree. Error rates agree within 0.1
        percentage points, other figures within 0.1 percent.

    Raises:
        ValueError: The preset records no figures, or the data is not what it was measured on.
    """
    metadata = presets.read_metadata(presets.find(preset))
    if "metrics" not in metadata or "recipe" not in metadata:
        raise ValueError(f"The preset {str(preset)!r} records no recipe and no figures to compare with.")
    recipe = from_data(metadata["recipe"])
    train_data, test_data = read_data(recipe, data_dir)
    for split, data in (("train", train_data), ("test", test_data)):
        expected, found = metadata["data"][f"{split}_sha256"], checksum(*data)
        if expected != found:
            raise ValueError(
                f"The split {recipe.data[split]!r} of {recipe.data['name']!r} is not the data that {str(preset)!r} was "
                f"measured on. Expected SHA-256: {expected}. Found: {found}."
            )
    model = SparseAutoencoder.from_preset(preset)
    measured = evaluation.evaluate(model, train_data, test_data, report=report, **recipe.probe)
    rows = []
    for name, recorded in metadata["metrics"].items():
        tolerance = {"abs_tol": _PERCENT} if "error" in name and "probe" in name else {"rel_tol": _RELATIVE}
        rows.append((name, measured[name], recorded, math.isclose(measured[name], recorded, **tolerance)))
    return rows, all(row[-1] for row in rows)
