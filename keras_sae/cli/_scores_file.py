"""The table of scores that `keras-sae detect` writes. An interrupted one is continued by the same command."""

import csv
import hashlib
import os

try:
    import fcntl
except ImportError:  # Windows has no such locks, so two processes that write one file are not detected there
    fcntl = None


def write_scores(detector, inputs, output, detector_sha256, before_moving=lambda: None):
    """Writes a line for each sample, and returns for each whether it is anomalous.

    Lines go to a hidden file next to `output`, which is moved into place at the end. Its name depends on the detector and on
    the data, so that what was interrupted continues only with the same.

    Args:
        detector: `AnomalyDetector`.
        inputs: `Inputs`.
        output: `pathlib.Path`, which does not exist.
        detector_sha256: What identifies the detector.
        before_moving: Function that is called when all scores are written, and not yet moved.

    Raises:
        BlockingIOError: Another process is writing the same file.
    """
    key = hashlib.sha256(f"{detector_sha256} {inputs.stamp()}".encode()).hexdigest()[:12]
    unfinished = output.with_name(f".{output.name}.{key}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.open("a+", newline="", encoding="utf-8") as file:
        _claim(file, output)
        flags = _earlier(file)
        lines = csv.writer(file, lineterminator="\n")
        if not file.tell():
            lines.writerow((inputs.key, "score", "is_anomalous"))
        for names, batch in inputs.in_steps("Scores", start=len(flags)):
            scores = detector.score_samples(batch)
            anomalous = [int(each) for each in ~(scores <= detector.threshold)]
            lines.writerows(zip(names, scores.tolist(), anomalous, strict=True))
            file.flush()
            flags += anomalous
        before_moving()
        os.replace(unfinished, output)
    return flags


def _claim(file, output):
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BlockingIOError(f"Another process is writing {str(output)!r}. Wait for it, or choose another name.") from error


def _earlier(file):
    """The flags of the whole lines of an interrupted file. Cuts off what follows them."""
    file.seek(0)
    text = file.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.truncate(len(whole.encode()))
        file.seek(0, os.SEEK_END)
    return [int(row[-1]) for row in list(csv.reader(whole.splitlines(keepends=True)))[1:]]
