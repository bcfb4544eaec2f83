import csv
import os
import shutil

from keras_sae import presets
from keras_sae.cli._package import load_package
from keras_sae.cli._runs import DETECTOR, part_of_run, refuse_existing

SUMMARY = "score new samples with a detector"
DETAILS = (
    "Writes one line for each sample: its file, row or first time step, its score, and whether it is anomalous. Every file is "
    "checked before the work: all that cannot be read are named at once. Results are written under temporary names and then "
    "moved. The same command continues what was interrupted."
)


def add_arguments(parser):
    parser.add_argument(
        "model", metavar="MODEL", help="a detector that `keras-sae calibrate` made, or the directory of its run"
    )
    parser.add_argument("data", metavar="DATA", help="a folder of images, a table, a series, or a .npy array of inputs")
    parser.add_argument("--output", required=True, metavar="CSV", help="where to write the scores")
    parser.add_argument(
        "--maps",
        metavar="DIR",
        help="where to write what is anomalous: pictures with what is unusual in red, or maps.csv, the errors by column of a "
        "table or by step of a series",
    )


def run(options):
    detector_path = part_of_run(options.model, DETECTOR)
    try:
        directory = presets.find(detector_path)  # a wrong name is found before Keras is loaded
    except ValueError as error:
        raise ValueError(
            "MODEL is a detector that `keras-sae calibrate` made, the directory of its run, or a preset with a detector. "
            f"{error}"
        ) from None
    output = refuse_existing(options.output)  # its folder is made
    maps = refuse_existing(options.maps) if options.maps else None
    load_package()
    from keras_sae.anomaly import AnomalyDetector
    from keras_sae.cli._own_inputs import Inputs
    from keras_sae.cli._scores_file import write_scores

    detector = AnomalyDetector.from_preset(detector_path)
    metadata = presets.read_metadata(directory)
    inputs = Inputs(options.data, metadata)
    write_the_maps = (lambda: _write_maps(detector, inputs, maps)) if maps else (lambda: None)
    flags = write_scores(detector, inputs, output, metadata["metadata_sha256"], before_moving=write_the_maps)
    print(f"{sum(flags):,} of {len(flags):,} {inputs.noun}s are anomalous: their score is above {detector.threshold:.6g}.")
    print(f"Wrote {output}{f' and the maps in {maps}' if maps else ''}.")


def _write_maps(detector, inputs, directory):
    """Writes the maps of all samples."""
    unfinished = directory.with_name(f".{directory.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        if len(inputs.shape) == 3:
            _write_pictures(detector, inputs, unfinished)
        else:
            _write_table(detector, inputs, unfinished / "maps.csv")
        os.rename(unfinished, directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_table(detector, inputs, path):
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow((inputs.key, *(inputs.columns or range(inputs.shape[0]))))
        for names, batch in inputs.in_steps("Maps"):
            lines.writerows((name, *row.tolist()) for name, row in zip(names, detector.anomaly_map(batch), strict=True))


def _write_pictures(detector, inputs, directory):
    import numpy as np
    import tensorflow as tf

    from keras_sae.evaluation import as_input

    # Pictures share a scale, so that they can be compared: the largest error of a typical picture is half way to red.
    peaks = [detector.anomaly_map(batch).max(axis=(1, 2)) for _, batch in inputs.in_steps("Scale of maps")]
    full = 2 * float(np.median(np.concatenate(peaks))) or 1.0
    for names, batch in inputs.in_steps("Maps"):
        for name, image, heat in zip(names, as_input(batch), detector.anomaly_map(batch), strict=True):
            share = np.clip(heat / full, 0, 1)[..., None] ** 2
            grey = np.clip(image, 0, 1).mean(axis=-1, keepdims=True)
            pixels = (1 - share) * grey + share * np.array([1.0, 0.0, 0.0])
            path = directory / (f"{name}.png" if inputs.key == "file" else f"{name:06}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(np.round(255 * pixels).astype("uint8")).numpy())
