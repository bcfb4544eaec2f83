"""What scores learn from normal data, in bounded memory."""

import numpy as np

_MOST = 2**25  # numbers of codes that are kept: 128 MB of float32
_LEAST_VARIANCE = 1e-3  # of a direction of the code, relative to the mean variance


class Rows:
    """Keeps rows of a stream in bounded memory: all of them at first, then evenly every second, fourth, ... one."""

    def __init__(self, most=_MOST):
        self.most = most
        self.stride, self.seen, self.kept, self.size = 1, 0, [], 0

    def add(self, rows):
        start = -self.seen % self.stride
        self.seen += len(rows)
        self._keep(rows[start :: self.stride])
        while self.size > self.most and sum(map(len, self.kept)) > 1:
            self.stride *= 2
            kept = np.concatenate(self.kept)[::2]
            self.kept, self.size = [], 0
            self._keep(kept)

    def _keep(self, rows):
        self.kept.append(np.array(rows, "float32"))
        self.size += self.kept[-1].size

    @property
    def array(self):
        return np.concatenate(self.kept)


class NormalStatistics:
    """Codes and errors of normal samples, for the `learn` of scores."""

    def __init__(self):
        self._codes, self._surroundings, self._errors = Rows(), Rows(), Rows(2**22)
        self.samples = 0

    def add(self, errors=None, codes=None, surroundings=None):
        self.samples += len(codes if errors is None else errors)
        for rows, values in ((self._codes, codes), (self._surroundings, surroundings)):
            if values is not None:
                rows.add(values.reshape(-1, values.shape[-1]))
        if errors is not None:
            self._errors.add(errors.reshape(len(errors), -1).mean(axis=1, keepdims=True))

    @property
    def codes(self):
        """Vectors of units at positions, `(n, units)`."""
        return self._codes.array

    @property
    def surroundings(self):
        """Local statistics of inputs at positions, `(n, statistics)`."""
        return self._surroundings.array

    @property
    def mean_error(self):
        """The mean squared reconstruction error."""
        return float(self._errors.array.mean())


def gaussian_of(codes, most):
    """A normal distribution of vectors: its mean, its widest directions and their precisions, and one precision for the rest.

    Args:
        codes: Array of shape `(n, units)`.
        most: Integer, the most directions.
    """
    mean = codes.mean(axis=0, dtype="float64")
    centred = codes - mean.astype("float32")
    units = codes.shape[1]
    if units <= len(codes):
        variances, directions = np.linalg.eigh((centred.T @ centred).astype("float64") / len(codes))
        variances, directions = variances[::-1], directions[:, ::-1]
    else:
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
        variances, directions = np.square(singular.astype("float64")) / len(codes), rows.T
    total = float(np.sum(variances))
    if not total > 0:
        raise ValueError(
            "The code, or for textures the surroundings of positions, is the same for all normal samples, so no distance can "
            'be measured. Train the model first, or use score="reconstruction".'
        )
    kept = int(min(most, units - 1 or 1, np.sum(variances > _LEAST_VARIANCE * total / units)))
    rest = (total - float(np.sum(variances[:kept]))) / max(units - kept, 1)
    # No direction counts more than the mean of the rest does, nor the rest more than the least variance allows.
    rest = max(rest, _LEAST_VARIANCE * total / units)
    return {
        "mean": mean.astype("float32"),
        "directions": np.ascontiguousarray(directions[:, :kept], "float32"),
        "precision": (1 / np.maximum(variances[:kept], rest)).astype("float32"),
        "rest_precision": np.float32(1 / rest),
    }
