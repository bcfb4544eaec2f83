import numpy as np

from keras_sae.evaluation._logistic_regression import cross_entropy, fit, scores

# For few labels, L-BFGS stops where it does on every processor.
_CONVERGED = {"gtol": 1e-5, "ftol": 0, "maxiter": 1000}
# Finding the axes of more rows takes longer than it saves.
_MOST = 3000


class FewRows:
    """Features of few labelled examples on their principal axes, and the classifiers of them.

    A linear classifier with an L2 penalty reads products of rows alone. Rows on their principal axes have the same products, up
    to the mean, which the bias reads, and fewer columns than rows. So fits are fast, exact (float64), and go on until they
    converge. More than 3,000 rows stay as they are.

    Args:
        x: float32 array, or its compressed form, of shape `(n, features)`. It may have the mirror images below the images.
        labels: Integer array, the label of each image, starting at 0. The last fifth of the images is held out.
        classes: Integer, the number of classes.
        iterations: Integer, the maximum number of iterations of a fit to more than 3,000 rows.
    """

    def __init__(self, x, labels, classes, iterations=150):
        self._x, self._y = x, labels
        self._kept = len(labels) - max(1, len(labels) // 5)
        self._places = np.arange(x.shape[0]).reshape(-1, len(labels))
        self._rows, self._axes, self._options = x, None, {"maxiter": iterations}
        if x.shape[0] <= _MOST:
            dense = x.toarray() if hasattr(x, "toarray") else x
            dense = dense.astype("float64")
            dense -= dense.mean(axis=0)
            squares, axes = np.linalg.eigh(dense @ dense.T)
            above = squares > 1e-12 * squares[-1]
            lengths = np.sqrt(squares[above])
            self._rows, self._axes, self._options = axes[:, above] * lengths, axes[:, above] / lengths, _CONVERGED
        self._start = np.zeros((self._rows.shape[1] + 1, classes))

    def fit(self, C, start=None, held_out=False):
        """The weights on the axes: the kernel, and below it the bias. With `held_out`, without the last fifth."""
        y = self._y[: self._kept] if held_out else self._y
        x = self._rows[self._places[:, : len(y)].ravel()]
        return fit(x, np.tile(y, len(self._places)), C, start=self._start if start is None else start, **self._options)

    def loss(self, weights):
        """The mean cross-entropy of the images held out."""
        return cross_entropy(scores(self._rows[self._places[0, self._kept :]], weights), self._y[self._kept :])

    def of_features(self, weights):
        """The same classifier as weights of the features."""
        if self._axes is None:
            return weights
        kernel = self._x.T @ (self._axes @ weights[:-1])
        return np.concatenate([kernel, weights[-1:] - (self._x @ kernel).mean(axis=0, keepdims=True)])
