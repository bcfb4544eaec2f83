"""Chooses a score on normal data alone: the one that best tells normal samples from mixtures of them."""

import numpy as np

from keras_sae.anomaly._roc import RocCurve

LEAST = 16  # samples to mix
_BETTER = 0.005  # by how much a score must be better than one before it in the list


def choose_score(scores, trial, parts):
    """The score with the highest area under the ROC curve for false anomalies.

    Args:
        scores: List of `Score` that have learned what they learn. Of equally good ones, the first is taken.
        trial: Array of normal samples that they did not learn from.
        parts: Function from samples to what scores read of them: errors, codes, sizes and inputs.

    Raises:
        ValueError: There are too few samples.
    """
    if len(trial) < LEAST:
        raise ValueError(
            f'`score="auto"` tries the scores on normal samples that it learns nothing else from, at least {LEAST}. Received: '
            f"{len(trial)}. Give about {16 * LEAST} normal samples or more, or name a score."
        )
    normal = parts(trial)
    false = [parts(each) for each in false_anomalies(trial)]
    best, chosen = 0.0, None
    for score in scores:
        of_normal = score_of(score, normal)
        area = np.mean([_area(of_normal, score_of(score, each)) for each in false])
        if chosen is None or area > best + _BETTER:
            best, chosen = area, score
    return chosen


def score_of(score, parts):
    return np.asarray(score(*parts), "float64")


def _area(normal, anomalous):
    labels = np.repeat([False, True], [len(normal), len(anomalous)])
    return RocCurve(labels, np.concatenate([normal, anomalous])).area()


def false_anomalies(x, seed=0):
    """Arrays like `x` of samples that are no longer normal: parts of two, and averages of two; of tables, mixed rows."""
    random = np.random.default_rng(seed)
    other = np.roll(random.permutation(x), 1, axis=0)
    if x.ndim == 2:
        return [np.where(random.random(x.shape) < 0.5, x, other)]
    return [_pasted(x, other, random), (x + other) / 2]


def _pasted(x, other, random):
    """Samples with a block of another sample, from another place."""
    x, sizes = x.copy(), x.shape[1:-1]
    for sample, source in zip(x, other, strict=True):
        blocks = [max(1, int(size * random.uniform(0.15, 0.4))) for size in sizes]
        to, of = (
            tuple(
                slice(start, start + block)
                for start, block in zip(
                    (random.integers(0, size - block + 1) for size, block in zip(sizes, blocks, strict=True)),
                    blocks,
                    strict=True,
                )
            )
            for _ in range(2)
        )
        sample[to] = source[of]
    return x
