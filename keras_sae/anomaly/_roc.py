import numpy as np


class RocCurve:
    """The ROC curve of scores, sorted once for the areas of many resamples.

    Args:
        anomalous: Boolean array of shape `(n,)`.
        scores: Array of shape `(n,)`.
    """

    def __init__(self, anomalous, scores):
        values, self._place = np.unique(scores, return_inverse=True)
        self._count = len(values)
        self._anomalous = anomalous

    def area(self, counts=None):
        """The area under the curve: the share of pairs in which the anomalous score is the higher one; ties count half.

        Args:
            counts: Array of shape `(n,)`, how often each example counts. By default once.
        """
        counts = np.ones(len(self._place)) if counts is None else counts
        high, low = (np.bincount(self._place, counts * chosen, self._count) for chosen in (self._anomalous, ~self._anomalous))
        below = np.cumsum(low) - low / 2
        return float((high * below).sum() / (high.sum() * low.sum()))
