import math

import numpy as np


class Moments:
    """Sums over samples, from which the mean and the spread of data follow.

    Args:
        axes: Number of the last axes that have a mean of their own; the others are averaged over.
    """

    def __init__(self, axes):
        self.axes = axes
        self.count, self.total, self.squares = 0.0, 0.0, 0.0

    def add(self, inputs, weights=None):
        """Adds a batch. A sample counts as often as its weight says."""
        inputs = np.asarray(inputs, "float64")
        kept = inputs.shape[inputs.ndim - self.axes :]
        rows = inputs.reshape(len(inputs), -1, *kept)  # (batch, positions, *kept)
        weights = np.ones(len(rows)) if weights is None else np.asarray(weights, "float64").reshape(len(rows), -1).mean(axis=1)
        finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))  # a NaN shall show in the loss, not stay in the mean
        rows, weights = rows[finite], weights[finite]
        self.count += weights.sum() * rows.shape[1]
        self.total += np.tensordot(weights, rows.sum(axis=1), axes=1)
        self.squares += np.tensordot(weights, np.square(rows).sum(axis=1), axes=1)

    def sum_over(self, workers):
        """Adds up what the workers have seen. The data may be the same on all, or a share of it on each."""
        joined = np.concatenate([[self.count], np.ravel(self.total), np.ravel(self.squares)])
        count, *sums = workers.sum(joined)
        self.total, self.squares = (half.reshape(np.shape(self.total)) for half in np.split(np.array(sums), 2))
        self.count = count

    @property
    def mean(self):
        return self.total / self.count

    @property
    def offset(self):
        """How far the data is from centred: the size of its mean, in standard deviations about it."""
        mean = self.mean
        spread = np.sum(self.squares / self.count - np.square(mean))
        size = np.sum(np.square(mean))
        return math.sqrt(size / spread) if spread > 0 else math.inf if size > 0 else 0.0
