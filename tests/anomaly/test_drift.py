import json

import numpy as np
import pytest

from keras_sae.anomaly import AnomalyDetector, drift
from keras_sae.anomaly._drift import distance_of, flag_range
from keras_sae.visualization import plot_drift


@pytest.fixture(scope="module")
def detector(axes):
    model, plane = axes
    return AnomalyDetector(model).calibrate(plane(2000, 20), 0.05), plane


def test_normal_data_has_not_drifted(detector, tmp_path):
    detector, plane = detector
    report = drift(detector, plane(500, 21))
    assert not report["flag_rate_changed"]
    assert not report["scores_changed"]
    assert report["flag_rate"] == detector.is_anomalous(plane(500, 21)).mean()
    assert (report["samples"], report["l0"], report["dead_units"]) == (500, 2.0, 0)
    assert json.loads(json.dumps(report)) == report
    figure = plot_drift(report)
    assert "flagged" in figure.axes[0].get_title(loc="left")
    figure.savefig(tmp_path / "drift.png")


def test_noise_shows_in_scores_and_flags(detector):
    detector, plane = detector
    noisy = plane(500, 22) + np.random.default_rng(0).normal(0, 0.02, (500, 5))
    report = drift(detector, noisy)
    assert report["flag_rate_changed"]
    assert report["scores_changed"]
    assert report["flag_rate"] > report["flag_rate_range"][1]
    assert report["score_distance"] > report["score_distance_limit"]


def test_the_range_of_flags_is_beta_binomial():
    stats = pytest.importorskip("scipy.stats")
    for count, calibrated, rate in ((50, 99, 0.01), (500, 1999, 0.05), (20_000, 999, 0.02)):
        known = stats.betabinom(count, rate * (calibrated + 1), (1 - rate) * (calibrated + 1))
        assert flag_range(count, calibrated, rate) == pytest.approx(tuple(known.ppf([0.025, 0.975]) / count))


def test_distances_of_distributions_by_hand():
    quantiles = np.linspace(0, 1, 11)  # scores between 0 and 1, evenly
    assert distance_of(np.array([0.5]), quantiles) == pytest.approx(0.5)
    assert distance_of(np.array([2.0, 3.0]), quantiles) == 1
    assert distance_of(np.linspace(0.005, 0.995, 100), quantiles) < 0.006


def test_what_drift_needs(axes, detector):
    with pytest.raises(ValueError, match="Received: none"):
        drift(detector[0], np.zeros((0, 5)))
    by_hand = AnomalyDetector(axes[0])
    with pytest.raises(ValueError, match="no threshold yet"):
        drift(by_hand, np.zeros((3, 5)))
    by_hand.threshold = 1.0
    with pytest.raises(ValueError, match="set by hand"):
        drift(by_hand, np.zeros((3, 5)))
