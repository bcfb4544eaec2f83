"""`keras-sae calibrate` and `detect`: from a folder, a table or a series to a detector and its scores."""

import csv
import sys

import keras
import numpy as np
import pytest

from keras_sae import cli, presets
from keras_sae.datasets import load_folder
from keras_sae.models import DenseAutoencoder

pytest.importorskip("tensorflow", reason="own data is read by TensorFlow")


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def pictures(folder, count, size=(6, 5), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(np.random.default_rng(seed).uniform(size=(count, *size, 3))):
        keras.utils.save_img(folder / f"{index:02}.png", pixels)
    return folder


def preset_of(directory, shape, **data):
    model = DenseAutoencoder(shape, code_units=4)
    model.save_to_preset(directory, metadata={"data": data})
    return directory


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The folder of a preset of images of 6 x 5 pixels and of a detector of it, with `normal/`."""
    folder = tmp_path_factory.mktemp("images")
    preset_of(folder / "model", (6, 5, 3), name="elsewhere")
    pictures(folder / "normal", 40)
    rate = ("--false-positive-rate", "0.05")
    assert (
        cli.main(["calibrate", str(folder / "model"), "--normal", str(folder / "normal"), *rate, "--output", str(folder / "d")])
        == 0
    )
    return folder


def test_scores_and_maps_are_those_of_the_detector(images, tmp_path, capsys):
    from keras_sae.anomaly import AnomalyDetector

    new = pictures(tmp_path / "new" / "cracked", 3, seed=1).parent
    status, printed, _ = run(
        capsys, "detect", images / "d", new, "--output", tmp_path / "out" / "scores.csv", "--maps", tmp_path / "maps"
    )
    assert status == 0
    detector = AnomalyDetector.from_preset(images / "d")
    x = np.stack([keras.utils.img_to_array(keras.utils.load_img(file)) for file in sorted(new.rglob("*.png"))]) / 255
    header, *rows = csv.reader((tmp_path / "out" / "scores.csv").read_text().splitlines())
    assert header == ["file", "score", "is_anomalous"]
    assert [row[0] for row in rows] == [f"cracked/0{index}.png" for index in range(3)]
    np.testing.assert_allclose([float(row[1]) for row in rows], detector.score_samples(x), rtol=1e-5)
    assert [row[2] for row in rows] == [str(int(each)) for each in detector.is_anomalous(x)]
    assert f"{sum(detector.is_anomalous(x))} of 3 images are anomalous" in printed
    drawn = keras.utils.load_img(tmp_path / "maps" / "cracked" / "00.png.png")
    assert drawn.size == (5, 6)
    assert not list(tmp_path.rglob(".*"))  # no temporary files


def test_a_folder_is_encoded_in_the_order_of_its_files(images, tmp_path, capsys):
    from keras_sae.evaluation import encode
    from keras_sae.models import SparseAutoencoder

    status, printed, _ = run(capsys, "encode", images / "model", images / "normal", tmp_path / "codes.npy")
    assert (status, "Wrote 40 codes of (4,) units" in printed) == (0, True)
    expected = encode(SparseAutoencoder.from_preset(images / "model"), load_folder(images / "normal")[0])
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), expected, rtol=1e-4, atol=1e-5)


def test_the_detector_keeps_the_preset_and_the_threshold(images):
    from keras_sae.anomaly import AnomalyDetector

    metadata = presets.read_metadata(images / "d")
    assert metadata["data"] == {"name": "elsewhere"}
    detector = AnomalyDetector.from_preset(images / "d")
    assert detector.score_name == "patch"
    assert detector.calibration.samples == 40
    assert detector.calibration.false_positive_rate == 0.05


def test_nothing_that_exists_is_overwritten(images, tmp_path, capsys):
    (tmp_path / "scores.csv").write_text("mine")
    for arguments in (
        ("detect", images / "d", images / "normal", "--output", tmp_path / "scores.csv"),
        ("detect", images / "d", images / "normal", "--output", tmp_path / "other.csv", "--maps", tmp_path),
        ("calibrate", images / "model", "--normal", images / "normal", "--output", tmp_path),
    ):
        status, _, error = run(capsys, *arguments)
        assert (status, "exists and is not overwritten" in error) == (2, True)
    assert (tmp_path / "scores.csv").read_text() == "mine"


def test_an_interrupted_detection_continues(images, tmp_path, capsys, monkeypatch):
    from keras_sae.anomaly import AnomalyDetector
    from keras_sae.cli import _own_inputs

    monkeypatch.setattr(_own_inputs, "BATCH", 16)
    command = ("detect", images / "d", images / "normal", "--output", tmp_path / "scores.csv")
    score, seen = AnomalyDetector.score_samples, []

    def stop(detector, batch):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(len(batch))
        return score(detector, batch)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(AnomalyDetector, "score_samples", stop)
        status, _, error = run(capsys, *command)
    assert (status, "stopped" in error) == (130, True)
    (unfinished,) = tmp_path.iterdir()
    assert unfinished.name.startswith(".scores.csv.")
    with unfinished.open("a") as file:
        file.write("05.png,0.1")  # a line that was cut off
    monkeypatch.setattr(AnomalyDetector, "score_samples", lambda self, x: seen.append(len(x)) or score(self, x))
    status, printed, _ = run(capsys, *command)
    assert (status, seen) == (0, [16, 16, 8])
    assert "of 40 images" in printed
    run(capsys, *command[:-1], tmp_path / "whole.csv")
    assert (tmp_path / "scores.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "whole.csv"]


def bad_inputs(images, tmp_path):
    """Arguments of commands, and what the error says."""
    pictures(tmp_path / "large", 2, size=(7, 5))
    (pictures(tmp_path / "broken", 1) / "torn.png").write_bytes(b"no")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.csv").write_text("a\n1\n")
    np.save(tmp_path / "x.npy", np.zeros((2, 6, 6, 3)))
    output = ("--output", tmp_path / "scores.csv")
    detect, calibrate = ("detect", images / "d"), ("calibrate", images / "model", "--output", tmp_path / "d")
    yield (*detect, tmp_path / "large", *output), "trained on images of 6 x 5 pixels.*'00.png' in .*large' has 7 x 5. Resize"
    yield (*detect, tmp_path / "broken", *output), r"1 of 2 images in .* cannot be read: torn.png \("
    yield (*detect, tmp_path / "empty", *output), "has no images.*It is empty"
    yield (*detect, tmp_path / "missing", *output), "There is no file or folder"
    yield (*detect, tmp_path / "x.csv", *output), r"reads inputs of shape \(n, 6, 5, 3\).*Received: shape \(1, 1\)"
    yield (*detect, tmp_path / "x.npy", *output), r"Received: shape \(2, 6, 6, 3\)"
    yield ("detect", images / "model", images / "normal", *output), "has no detector"
    yield calibrate, "names no data that it was not trained on. Give --normal"
    yield (*calibrate, "--normal", images / "normal", "--false-positive-rate", "5"), "a share between 0 and 1. Received: 5.0"
    yield (*calibrate, "--normal", images / "normal"), "rate of 0.01 needs at least 99 normal samples.*Received: 40"
    yield (*calibrate, "--normal", images / "normal", "--score", "pach"), "Did you mean 'patch'"


def test_runs_are_followed_to_what_they_lack(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for command, message in (
        (("calibrate", tmp_path / "run"), "has no preset yet. Make it: keras-sae train"),
        (
            ("detect", tmp_path / "run", tmp_path, "--output", tmp_path / "x.csv"),
            "has no detector yet. Make it: keras-sae calibrate",
        ),
    ):
        status, _, error = run(capsys, *command)
        assert (status, message in error) == (2, True), error


def test_a_threshold_is_not_set_on_training_data(images, tmp_path, capsys):
    recipe = {"data": {"name": str(images / "normal"), "train": "train[:50%]", "test": "train[50%:]"}}
    model = DenseAutoencoder((6, 5, 3), code_units=4)
    model.save_to_preset(tmp_path / "model", metadata={"data": recipe["data"], "recipe": recipe})
    command = ("calibrate", tmp_path / "model", "--output", tmp_path / "d", "--false-positive-rate", "0.1")
    status, _, error = run(capsys, *command, "--normal", images / "normal")
    assert status == 2
    assert "was trained on" in error
    assert "Leave out --normal to use what was held out (train[50%:])" in error
    status, printed, _ = run(capsys, *command)
    assert (status, "from 20 samples" in printed) == (0, True)


def test_bad_input_is_a_sentence(images, tmp_path, capsys):
    import re

    for arguments, message in bad_inputs(images, tmp_path):
        status, _, error = run(capsys, *arguments)
        assert status == 2, arguments
        assert re.search(message, error), (message, error)
        assert "Traceback" not in error
    assert not (tmp_path / "scores.csv").exists()
    assert not (tmp_path / "d").exists()


def test_tables_name_rows_and_columns(tmp_path, capsys):
    random = np.random.default_rng(0)

    def table(name, columns, rows):
        lines = [columns, *(",".join(map(str, row)) for row in random.normal(size=(rows, len(columns.split(","))))), ""]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    preset_of(tmp_path / "model", 2, name="pumps.csv", columns=["flow", "pressure"])
    normal, new = table("normal.csv", "pressure,flow", 30), table("new.csv", "note,flow,pressure", 3)
    rate = ("--false-positive-rate", 0.1)
    assert run(capsys, "calibrate", tmp_path / "model", "--normal", normal, *rate, "--output", tmp_path / "d")[0] == 0
    arguments = ("detect", tmp_path / "d", new, "--output", tmp_path / "scores.csv", "--maps", tmp_path / "maps")
    status, printed, _ = run(capsys, *arguments)
    assert status == 0
    assert "of 3 rows are anomalous" in printed
    scores = list(csv.reader((tmp_path / "scores.csv").read_text().splitlines()))
    maps = list(csv.reader((tmp_path / "maps" / "maps.csv").read_text().splitlines()))
    assert [row[0] for row in scores] == ["row", "0", "1", "2"]
    assert maps[0] == ["row", "flow", "pressure"]
    np.testing.assert_allclose(
        np.mean([[float(cell) for cell in row[1:]] for row in maps[1:]], axis=1),
        [float(row[1]) for row in scores[1:]],
        rtol=1e-5,
    )
    status, _, error = run(
        capsys, "detect", tmp_path / "d", table("less.csv", "flow", 3), "--output", tmp_path / "less.csv.out"
    )
    assert (status, "has no column 'pressure'" in error) == (2, True)


@pytest.mark.slow
def test_series_name_first_steps(tmp_path, capsys):
    preset_of(tmp_path / "model", (8, 1), name="x.npy", window=8, stride=4)
    np.save(tmp_path / "normal.npy", np.random.default_rng(0).normal(size=100))
    np.save(tmp_path / "new.npy", np.random.default_rng(1).normal(size=20))
    rate = ("--false-positive-rate", 0.1, "--output", tmp_path / "d")
    assert run(capsys, "calibrate", tmp_path / "model", "--normal", tmp_path / "normal.npy", *rate)[0] == 0
    status, printed, _ = run(capsys, "detect", tmp_path / "d", tmp_path / "new.npy", "--output", tmp_path / "scores.csv")
    assert status == 0
    assert "of 4 windows" in printed
    assert [row[0] for row in csv.reader((tmp_path / "scores.csv").read_text().splitlines())] == [
        "first_step",
        "0",
        "4",
        "8",
        "12",
    ]


def part(random, is_scratched):
    """A bright picture of a part, uint8 of shape (31, 23, 3)."""
    y, x = np.mgrid[:31, :23]
    picture = np.full((31, 23, 3), (0.93, 0.91, 0.86)) * random.uniform(0.93, 1)
    centre = 15 + random.uniform(-1, 1), 11 + random.uniform(-1, 1)
    picture[((y - centre[0]) / 11) ** 2 + ((x - centre[1]) / 8) ** 2 < 1] = (0.9, 0.7, 0.5)
    if is_scratched:
        picture[np.abs((y - centre[0]) - (x - centre[1])) + 3 * (np.abs(y - centre[0]) > 4) < 1] -= 0.3
    return (255 * (picture + random.normal(0, 0.02, picture.shape)).clip(0, 1)).astype("uint8")


@pytest.mark.slow
def test_from_a_folder_to_a_served_detector_in_four_commands(tmp_path, capsys, monkeypatch):
    """The commands of docs/anomaly.md."""
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for folder, count, is_scratched in (("parts/normal", 500, False), ("parts/new", 20, False), ("parts/new", 20, True)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            name = f"{'scratched' if is_scratched else 'fine'}_{index:03}.png"
            keras.utils.save_img(tmp_path / folder / name, part(random, is_scratched), scale=False)
    commands = (
        "train parts/normal --set epochs=20",
        "calibrate runs/normal",
        "detect runs/normal parts/new --output scores.csv --maps maps",
        "export runs/normal/detector served",
    )
    for command in commands:
        status, _, error = run(capsys, *command.split())
        assert status == 0, error
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    flagged = {row["file"]: row["is_anomalous"] == "1" for row in rows}
    assert sum(flag for file, flag in flagged.items() if file.startswith("scratched")) >= 18
    assert sum(flag for file, flag in flagged.items() if file.startswith("fine")) <= 2
    signature = tf.saved_model.load("served/1").signatures["detect"]
    x = np.stack([keras.utils.img_to_array(keras.utils.load_img(f"parts/new/{row['file']}")) for row in rows]) / 255
    served = signature(inputs=tf.constant(x, "float32"))
    np.testing.assert_allclose(served["scores"], [float(row["score"]) for row in rows], rtol=1e-5)
    assert served["is_anomalous"].numpy().tolist() == [row["is_anomalous"] == "1" for row in rows]
    if sys.platform == "linux":
        status, _, error = run(capsys, "verify-export", "served")
        assert status == 0, error
