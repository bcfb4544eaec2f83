"""What a service should watch: whether new data still looks like the normal data of the calibration."""

import math

import numpy as np

from keras_sae.anomaly._calibration import CONFIDENCE, QUANTILES


def drift(detector, x):
    """Compares new data with the normal data that a detector was calibrated on.

    Give it what a service has seen lately. Most of it should be normal. Two tests at 95 % confidence say what has changed:

    - The rate of flags: does it lie in the range that is usual for this number of normal samples?
    - The distribution of scores: is its largest distance from that of the calibration usual (Kolmogorov and Smirnov)?

    A few anomalies raise the rate of flags and hardly change the distribution. See `docs/anomaly.md` for what to do.

    Args:
        detector: A calibrated `AnomalyDetector`.
        x: New samples: an array, a data frame, or a data set of batches.

    Returns:
        Dictionary of plain data:

        - `samples`, their number, and `calibration_samples`;
        - `flag_rate`; `flag_rate_range`, where it lies for normal data; `flag_rate_changed`;
        - `threshold`; `scores` and `calibration_scores`, lists of evenly spaced quantiles from the lowest to the highest;
        - `score_distance`, between 0 and 1; `score_distance_limit`, below which it lies for normal data; `scores_changed`;
        - `l0` and `calibration_l0`, the mean number of active units at a position of the code; `dead_units` and
          `calibration_dead_units`, the units that fired for no sample. None for a model without a code. With fewer samples than
          in the calibration, more units are dead by chance.

    Raises:
        ValueError: The detector is not calibrated, its threshold was set by hand, or there are no samples.
    """
    threshold, calibration = detector.threshold, detector.calibration
    if calibration is None:
        raise ValueError(
            "Drift is measured from the calibration, and the threshold of this detector was set by hand. Call "
            "`calibrate(normal)`."
        )
    scores, use = detector.scores_and_codes(x)
    if not len(scores):
        raise ValueError("Drift needs new samples to compare with those of the calibration. Received: none.")
    scores = scores.astype("float64")
    flag_rate = float(np.mean(~(scores <= threshold)))
    low, high = flag_range(len(scores), calibration.samples, calibration.expected_rate)
    distance = distance_of(scores, np.asarray(calibration.quantiles))
    # The two-sample test; the steps between stored quantiles add to the distance.
    limit = 1.358 * math.sqrt(1 / len(scores) + 1 / calibration.samples) + 1 / (QUANTILES - 1)
    figures = use.figures()
    return {
        "samples": len(scores),
        "calibration_samples": calibration.samples,
        "flag_rate": flag_rate,
        "flag_rate_range": [low, high],
        "flag_rate_changed": not low <= flag_rate <= high,
        "threshold": threshold,
        "scores": [float(each) for each in np.quantile(scores, np.linspace(0, 1, QUANTILES))],
        "calibration_scores": list(calibration.quantiles),
        "score_distance": distance,
        "score_distance_limit": min(limit, 1.0),
        "scores_changed": distance > limit,
        "l0": figures["l0"],
        "calibration_l0": calibration.l0,
        "dead_units": figures["dead_units"],
        "calibration_dead_units": calibration.dead_units,
    }


def flag_range(count, calibrated, rate):
    """The central range of the share of flags among `count` new normal samples, after a calibration on `calibrated` samples.

    The number of flags has a beta-binomial distribution: the threshold is a random one, too.
    """
    a = rate * (calibrated + 1)
    b = calibrated + 1 - a
    flags = np.arange(count)
    # Ratios of successive probabilities.
    steps = np.log((count - flags) * (flags + a)) - np.log((flags + 1.0) * (count - flags - 1 + b))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    total = np.cumsum(np.exp(logs - logs.max()))
    total /= total[-1]
    tail = (1 - CONFIDENCE) / 2
    return float(np.searchsorted(total, tail)) / count, float(np.searchsorted(total, 1 - tail)) / count


def distance_of(scores, quantiles):
    """The largest difference between the distribution function of scores and the one through quantiles."""
    scores = np.sort(scores)
    reference = np.interp(scores, quantiles, np.linspace(0, 1, len(quantiles)))
    above = np.arange(1, len(scores) + 1) / len(scores)
    return float(max(np.max(above - reference), np.max(reference - above + 1 / len(scores)), 0.0))
