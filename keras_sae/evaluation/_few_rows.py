import numpy as np

from keras_sae.evaluation._logistic_regression import cross_entropy, fit

# For few labels, L-BFGS stops where it does on every processor.
_CONVERGED = {"gtol": 1e-5, "ftol": 0, "maxiter": 1000}


class FewRows:
    """Features of few labelled examples on their principal axes, and the classifiers of them.

    A linear classifier with an L2 penalty reads products of rows alone. Rows on their principal axes have the same products, up
    to the mean, which the bias reads, and fewer columns than rows. So fits are fast, exact (float64), and go on until they
    converge.

    Args:
        x: float32 array, or its compressed form, of shape `(n, features)`. It may have the mirror images below the images.
        labels: Integer array, the label of each image, starting at 0. The last fifth of the images is held out.
        classes: Integer, the number of classes.
    """

    def __init__(self, x, labels, classes):
        self._x, self._y = x, labels
        self._kept = len(labels) - max(1, len(labels) // 5)
        dense = x.toarray() if hasattr(x, "toarray") else x
        dense = dense.astype("float64")
        dense -= dense.mean(axis=0)
        squares, axes = np.linalg.eigh(dense @ dense.T)
        above = squares > 1e-12 * squares[-1]
        lengths = np.sqrt(squares[above])
        self._axes = axes[:, above] / lengths
        self._rows = (axes[:, above] * lengths).reshape(len(dense) // len(labels), len(labels), len(lengths))
        self._start = np.zeros((len(lengths) + 1, classes))

    def fit(self, C, start=None, held_out=False):
        """The weights on the axes: the kernel, and below it the bias. With `held_out`, without the last fifth."""
        y = self._y[: self._kept] if held_out else self._y
        x = np.concatenate(self._rows[:, : len(y)])
        return fit(x, np.tile(y, len(self._rows)), C, start=self._start if start is None else start, **_CONVERGED)

    def loss(self, weights):
        """The mean cross-entropy of the images held out."""
        return cross_entropy(self._rows[0, self._kept :], self._y[self._kept :], weights)

    def of_features(self, weights):
        """The same classifier as weights of the features."""
        kernel = self._x.T @ (self._axes @ weights[:-1])
        return np.concatenate([kernel, weights[-1:] - (self._x @ kernel).mean(axis=0, keepdims=True)])
