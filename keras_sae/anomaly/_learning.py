"""What `calibrate` does: statistics of normal data, then scores for the threshold. Both read data batch by batch."""

import numpy as np

from keras_sae.anomaly._auto import choose_score
from keras_sae.anomaly._calibration import CONFIDENCE, QUANTILES, Calibration, check_supports, threshold_of
from keras_sae.anomaly._network import network, only, predict
from keras_sae.anomaly._samples import numbers_of
from keras_sae.anomaly._statistics import NormalStatistics, Rows

_TRIED = 2**22  # numbers of samples that "auto" keeps to try scores on


def for_statistics(batch):
    """Which samples teach statistics where one set of data serves both purposes: about half, by their content alone."""
    return numbers_of(batch) % 2 == 0


def learn(candidates, model, window, samples, halved):
    """Lets scores learn from normal samples, and chooses one.

    Args:
        candidates: List of `Score`. Where there is more than one, the best on false anomalies is taken.
        samples: `Samples`.
        halved: Whether to read only the samples of `for_statistics`.

    Returns:
        The score, and the number of samples that it learned from.
    """
    whole = network(model, None, window)
    parts = only(whole, *(name for name in ("errors", "codes", "surroundings", "sizes", "inputs") if name in whole.output))
    normal, tried = NormalStatistics(), Rows(_TRIED)
    read = {"errors", "codes"} | ({"surroundings"} if any(score.reads_surroundings for score in candidates) else set())
    for batch in samples.batches():
        batch = batch[for_statistics(batch)] if halved else batch
        if len(candidates) > 1:
            held_out = numbers_of(batch) // 2 % 4 == 0
            tried.add(batch[held_out].reshape(held_out.sum(), -1))
            batch = batch[~held_out]
        if len(batch):
            made = predict(parts, batch)
            normal.add(**{name: made[name] for name in read & made.keys()})
    if not normal.samples:
        raise ValueError(
            f"The score learns statistics from about half of the different samples in `{samples.name}`, and found none: they "
            "are equal, or too few. Give more normal samples, as they occur."
        )
    for score in candidates:
        score.learn(normal)
    if len(candidates) == 1:
        return candidates[0], normal.samples
    trial = tried.array
    trial = trial.reshape(len(trial), *samples.sizes)

    def parts_of(x):
        made = [predict(parts, x[start : start + samples.batch_size]) for start in range(0, len(x), samples.batch_size)]
        made = {name: np.concatenate([each[name] for each in made]) for name in made[0]}
        return made.get("errors"), made.get("codes"), made["sizes"], made["inputs"]

    return choose_score(candidates, trial, parts_of), normal.samples


def calibrated(score, model, window, samples, rate, halved, learned):
    """The threshold of a score, and its `Calibration`."""
    whole = network(model, score, window)
    scorer = only(whole, *(name for name in ("scores", "codes") if name in whole.output))
    scores, first, constant, use = [], None, True, CodeUse()
    low, high = np.inf, -np.inf
    for batch in samples.batches():
        batch = batch[~for_statistics(batch)] if halved else batch
        if not len(batch):
            continue
        first = batch[:1] if first is None else first
        low, high = min(low, float(batch.min())), max(high, float(batch.max()))
        constant = constant and bool((batch == first).all())
        made = predict(scorer, batch)
        scores.append(made["scores"])
        use.add(made.get("codes"))
    scores = np.concatenate(scores) if scores else np.zeros(0)
    check_supports(rate, len(scores), halved)
    if constant and len(scores) > 1:
        raise ValueError(
            f"All samples in `{samples.name}` are equal, so they do not show how scores of normal data vary. Received: "
            f"{len(scores)} equal samples. Give normal samples as they occur."
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"The scores of {int((~np.isfinite(scores)).sum())} of {len(scores)} normal samples are NaN or infinite, though "
            "the samples are finite. Check the weights of the model: a training that diverged leaves such values."
        )
    threshold, expected, interval = threshold_of(scores, rate)
    quantiles = np.quantile(scores.astype("float64"), np.linspace(0, 1, QUANTILES))
    return threshold, Calibration(
        samples=len(scores),
        statistics_samples=learned,
        false_positive_rate=rate,
        expected_rate=expected,
        interval=interval,
        confidence=CONFIDENCE,
        input_range=(low, high),
        quantiles=tuple(float(each) for each in quantiles),
        **use.figures(),
    )


class CodeUse:
    """How many entries of codes are active, and which units fired."""

    def __init__(self):
        self.active, self.positions, self.fired = 0, 0, None

    def add(self, codes):
        if codes is not None:
            active = codes.reshape(-1, codes.shape[-1]) != 0
            self.active += int(active.sum())
            self.positions += len(active)
            self.fired = active.any(axis=0) | (False if self.fired is None else self.fired)

    def figures(self):
        """Mean number of active units at a position, and number of units that fired for no sample; None without a code."""
        if self.fired is None:
            return {"l0": None, "dead_units": None}
        return {"l0": self.active / self.positions, "dead_units": int((~self.fired).sum())}
