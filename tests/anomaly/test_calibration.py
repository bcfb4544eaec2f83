"""The threshold is an order statistic, and its promise is a beta distribution."""

import numpy as np
import pytest

from keras_sae.anomaly._calibration import beta_quantile, samples_needed, threshold_of


@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 99), (3, 20), (100, 9901), (1, 999_999), (50_000, 950_000)])
def test_quantiles_of_beta_are_those_of_scipy(a, b):
    beta = pytest.importorskip("scipy.stats").beta
    for probability in (0.025, 0.5, 0.975):
        assert beta_quantile(probability, a, b) == pytest.approx(beta.ppf(probability, a, b), rel=1e-6)
    assert beta_quantile(0, a, b) == 0
    assert beta_quantile(1, a, b) == 1


def test_a_threshold_by_hand():
    # Of 1, ..., 199 at a rate of 1 %, two of the 200 ranks of a new sample lie above the threshold: it is the score 198.
    threshold, expected, (low, high) = threshold_of(np.random.default_rng(0).permutation(199) + 1.0, 0.01)
    assert 198 < threshold < 198.1
    assert expected == 0.01
    # The distribution function of Beta(2, 198).
    below = [1 - (1 - x) ** 199 - 199 * x * (1 - x) ** 198 for x in (low, high)]
    np.testing.assert_allclose(below, [0.025, 0.975], rtol=1e-9)


def test_ties_and_the_last_score_stay_below_the_threshold():
    assert 5 < threshold_of(np.r_[np.zeros(50), np.full(150, 5.0)], 0.05)[0] < 5.01
    assert 0 < threshold_of(np.zeros(100), 0.05)[0] < 1e-30
    assert -3 < threshold_of(-np.arange(3.0, 103.0), 0.01)[0] < -2.99


def test_the_samples_that_a_rate_needs():
    assert [samples_needed(rate) for rate in (0.9, 0.5, 0.1, 0.05, 0.01, 0.001)] == [1, 1, 9, 19, 99, 999]
    threshold_of(np.arange(99.0), 0.01)
    with pytest.raises(ValueError, match=r"0\.01 needs at least 99 .* Received: 98, .* below 0\.0101"):
        threshold_of(np.arange(98.0), 0.01)


def test_the_rate_on_new_data_is_what_the_calibration_promised():
    random = np.random.default_rng(0)
    rates, expected, interval = [], None, None
    for _ in range(400):
        threshold, expected, interval = threshold_of(random.gamma(2, size=399), 0.05)
        rates.append((1 + threshold) * np.exp(-threshold))  # the share of that distribution above it
    assert np.mean(rates) == pytest.approx(expected, abs=0.0015)
    inside = np.mean([interval[0] <= rate <= interval[1] for rate in rates])
    assert 0.92 < inside < 0.98
