"""The threshold of a detector: an order statistic of scores of normal data, and the rate that it can promise."""

import dataclasses
import math

import numpy as np

CONFIDENCE = 0.95
QUANTILES = 201  # scores of normal data that a calibration keeps, for comparison with later ones
_MARGIN = 1e-4  # how far above a score of normal data the threshold may lie, relative to the score


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How the threshold was set. Plain data.

    Attributes:
        samples: Number of normal samples whose scores set the threshold.
        statistics_samples: Number of normal samples from which the score learned its statistics. They are not among `samples`.
        false_positive_rate: The rate that was asked for.
        expected_rate: The mean of the rate that the threshold can be expected to have, at most `false_positive_rate`.
        interval: The bounds between which the rate on new normal data lies with probability `confidence`.
        confidence: That probability.
        quantiles: Scores of the normal samples, at evenly spaced shares from the lowest to the highest.
        input_range: The lowest and the highest number in these samples, as the model reads them.
        l0: Mean number of units that are active at a position of the codes of these samples; None without a code.
        dead_units: Number of units that fired for none of these samples; None without a code.
    """

    samples: int
    statistics_samples: int
    false_positive_rate: float
    expected_rate: float
    interval: tuple
    confidence: float
    quantiles: tuple
    input_range: tuple
    l0: float | None = None
    dead_units: int | None = None

    @classmethod
    def from_config(cls, config):
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in config.items()})

    def get_config(self):
        """A dictionary for JSON."""
        config = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


def samples_needed(rate):
    """The smallest number of normal samples that supports a false-positive rate: one of them may lie above the threshold."""
    return max(math.ceil(1 / rate - 1e-9) - 1, 1)


def check_supports(rate, count, halved=False):
    """Raises ValueError where `count` normal samples are too few for a false-positive rate."""
    needed = samples_needed(rate)
    if count >= needed:
        return
    lowest = f"{1 / (count + 1):.3g}" if count else "none"
    rest = (
        "About half of the normal samples teach this score its statistics and cannot set the threshold: give twice as many, or "
        "pass other normal data as `training`."
        if halved
        else "Give more normal samples, or ask for a higher rate."
    )
    raise ValueError(
        f"A false-positive rate of {rate:g} needs at least {needed} normal samples for the threshold. Received: {count}, which "
        f"support no rate below {lowest}. {rest}"
    )


def threshold_of(scores, rate):
    """The threshold above which a sample counts as anomalous, and the expected rate and interval of the rate.

    With `n` scores of normal samples, the threshold is the one of rank `n + 1 - f`, where `f = floor(rate * (n + 1))`. For
    scores without ties, the rate of new normal samples above it has the distribution Beta(f, n + 1 - f), whatever the scores.

    Args:
        scores: Array of shape `(n,)`, scores of normal samples that nothing else has been learned from.
        rate: Float in (0, 1).

    Returns:
        The threshold, the expected rate `f / (n + 1)`, and a tuple, the central interval of the rate.
    """
    scores = np.sort(np.asarray(scores, "float64"))
    check_supports(rate, len(scores))
    above = math.floor(rate * (len(scores) + 1) + 1e-9)
    chosen = scores[len(scores) - above]
    larger = scores[scores > chosen]
    # A little above the score itself: another runtime may compute that score with another last digit.
    margin = _MARGIN * max(abs(chosen), np.finfo("float32").tiny)
    threshold = chosen + (min(margin, (larger[0] - chosen) / 2) if len(larger) else margin)
    threshold = float(np.float32(threshold))  # the same number in every runtime
    tail = (1 - CONFIDENCE) / 2
    interval = tuple(beta_quantile(each, above, len(scores) + 1 - above) for each in (tail, 1 - tail))
    return threshold, above / (len(scores) + 1), interval


def beta_quantile(probability, a, b):
    """The quantile of a beta distribution."""
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))
