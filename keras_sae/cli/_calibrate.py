import os
import shutil
import tempfile
from pathlib import Path

from keras_sae import presets
from keras_sae.cli._arguments import add_data_dir
from keras_sae.cli._package import load_package
from keras_sae.cli._runs import DETECTOR, PRESET, RUN, part_of_run, refuse_existing

SUMMARY = "make an anomaly detector of a model: set the threshold from normal samples"
DETAILS = (
    "Writes a preset with the model, the score and the threshold, for `keras-sae detect` and `keras-sae export`. The normal "
    "samples are those that the recipe held out from training, or those at --normal. N samples support a rate of 1/(N + 1) and "
    "higher."
)


def add_arguments(parser):
    parser.add_argument(
        "preset", metavar="RUN_OR_PRESET", help="the directory of a run of `keras-sae train`, or a preset by name or directory"
    )
    parser.add_argument(
        "--normal",
        metavar="DATA",
        help="normal samples that the model was not trained on: a folder of images, a table, a series, or a .npy array of "
        "inputs (default: the test data of the recipe)",
    )
    parser.add_argument(
        "--false-positive-rate",
        type=float,
        default=0.01,
        metavar="RATE",
        help="share of normal samples that may be called anomalous (default: %(default)s)",
    )
    parser.add_argument(
        "--score",
        metavar="NAME",
        help="how a sample is scored, see docs/anomaly.md (default: patch, the largest error of a patch, for images and "
        "series; reconstruction, the mean error, for tables)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="directory of the detector (default: RUN/detector, or NAME_detector for a preset)"
    )
    add_data_dir(parser)


def run(options):
    is_run = (Path(options.preset).expanduser() / RUN).is_file()
    preset = part_of_run(options.preset, PRESET)
    directory = presets.find(preset)  # a wrong name is found before Keras is loaded
    default = Path(options.preset) / DETECTOR if is_run else f"{directory.name}_detector"
    output = refuse_existing(options.output or default)
    if not 0 < options.false_positive_rate < 1:
        raise ValueError(f"--false-positive-rate is a share between 0 and 1. Received: {options.false_positive_rate}.")
    metadata = presets.read_metadata(directory)
    _check_held_out(options.normal, metadata)
    load_package()
    from keras_sae.anomaly import AnomalyDetector
    from keras_sae.models import SparseAutoencoder

    detector = AnomalyDetector(SparseAutoencoder.from_preset(preset), score=options.score)
    what, normal = _normal(options, metadata)
    print(f"Calibrating on {what} ...", flush=True)
    training = _training(options, metadata) if detector.learns else None
    detector.calibrate(normal, options.false_positive_rate, training=training)
    _save(detector, directory, output)
    found = detector.calibration
    low, high = (f"{100 * each:.2g} %" for each in found.interval)
    print(
        f"Threshold {detector.threshold:.6g} for the score {detector.score_name!r}, from {found.samples:,} samples.\n"
        f"Of new normal samples, at most {100 * found.false_positive_rate:g} % on average will be called anomalous; for this "
        f"threshold, the rate is between {low} and {high} with probability {found.confidence:g}.\n"
        f"The detector is in {output}. Next: keras-sae detect {output} DATA --output scores.csv"
    )


def _check_held_out(normal, metadata):
    """Raises ValueError where the data to calibrate on is what the model was trained on."""
    recipe = metadata.get("recipe")
    if normal is None:
        if recipe is None:
            raise ValueError("The preset records no recipe, so it names no data that it was not trained on. Give --normal.")
        return
    trained_on = recipe and Path(recipe["data"]["name"]).expanduser()
    if trained_on and trained_on.exists() and trained_on.resolve() == Path(normal).expanduser().resolve():
        raise ValueError(
            f"The model was trained on {str(normal)!r}, so its errors there are smaller than on new data, and the threshold "
            f"would be too low. Leave out --normal to use what was held out ({recipe['data']['test']}), or give other samples."
        )


def _normal(options, metadata):
    """What the threshold is set from: a description, and the data."""
    if options.normal is None:
        data = metadata["recipe"]["data"]
        return f"the test data of the recipe, {data['test']!r} of {data['name']!r}", _split(metadata, "test", options.data_dir)
    from keras_sae.cli._own_inputs import Inputs

    inputs = Inputs(options.normal, metadata)
    return f"{len(inputs):,} {inputs.noun}s in {options.normal}", inputs.dataset()


def _training(options, metadata):
    """What the model was trained on, for scores that learn statistics; None where it is not here."""
    try:
        return _split(metadata, "train", options.data_dir) if "recipe" in metadata else None
    except (ValueError, OSError):
        if options.normal is None:
            raise
        return None  # half of the normal samples teach the statistics then


def _split(metadata, split, data_dir):
    """A split of the data of the recipe."""
    from keras_sae.datasets import OPTIONS, load_training

    data = metadata["recipe"]["data"]
    options = {key: value for key, value in data.items() if key in OPTIONS}
    return load_training(data["name"], data[split], data_dir, **options)[0]


def _save(detector, preset, output):
    """Writes the preset with the detector to a temporary name, and moves it into place."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".detector-", dir=output.parent) as draft:
        copied = Path(shutil.copytree(preset, Path(draft) / output.name))
        detector.save_to_preset(copied)
        os.rename(copied, output)
