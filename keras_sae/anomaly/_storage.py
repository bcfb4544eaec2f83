"""A detector in a preset: `detector.json` and its arrays in `detector.npz`. No code is read from either."""

import io
import json

import numpy as np

from keras_sae import presets
from keras_sae.anomaly._calibration import Calibration
from keras_sae.anomaly._scores import SCORES

DESCRIPTION, ARRAYS = "detector.json", "detector.npz"
FORMAT = 1


def files_of(score, threshold, calibration, arguments):
    """The files of a detector: a dictionary from names to bytes."""
    description = {
        "format": FORMAT,
        "score": score.name,
        "threshold": threshold,
        "calibration": calibration and calibration.get_config(),
        "arguments": arguments,
    }
    arrays = io.BytesIO()
    np.savez(arrays, **score.arrays)
    text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False) + "\n"
    return {DESCRIPTION: text.encode(), ARRAYS: arrays.getvalue()}


def read_files(preset):
    """The description of a detector and its arrays, from a preset."""
    files = presets.read_files(preset, (DESCRIPTION, ARRAYS))
    if files is None:
        raise ValueError(
            f"The preset {str(preset)!r} has no detector. Load its model with `SparseAutoencoder.from_preset`, make an "
            "`AnomalyDetector(model)`, and `calibrate` it with normal samples."
        )
    try:
        description = json.loads(files[DESCRIPTION])
        if description["format"] != FORMAT:
            raise ValueError(f"it has the format {description['format']!r}, and this version reads format {FORMAT}")
        if description["score"] not in SCORES:
            raise ValueError(f"its score {description['score']!r} is none of {', '.join(SCORES)}")
        if description["calibration"] is not None:
            description["calibration"] = Calibration.from_config(description["calibration"])
        with np.load(io.BytesIO(files[ARRAYS]), allow_pickle=False) as stored:
            return description, dict(stored)
    except (KeyError, TypeError, AttributeError, ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"The detector of the preset {str(preset)!r} cannot be read: {error}. Calibrate and save it again."
        ) from error


def has_detector(preset):
    """Whether a preset holds a detector."""
    return DESCRIPTION in presets.read_metadata(presets.find(preset), verify=False)["files"]


def summary_of(score, threshold, calibration):
    """What the metadata of a preset says about its detector."""
    summary = {"score": score.name, "threshold": threshold}
    if calibration is not None:
        names = ("samples", "false_positive_rate", "interval", "confidence")
        summary.update({name: calibration.get_config()[name] for name in names})
    return summary
