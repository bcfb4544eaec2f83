import numpy as np

from keras_sae.evaluation._bootstrap import bootstrap_interval
from keras_sae.evaluation._logistic_regression import compress, fit, scores

REGULARISATIONS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FEW_LABELS_REGULARISATIONS = (0.003, 0.03, 0.3, 3.0)


def probe(train_codes, train_labels, test_codes, test_labels, validation=10_000, C=REGULARISATIONS, iterations=150):
    """The error of a linear classifier on frozen codes: what a code knows about the labels that it never saw.

    Multinomial logistic regression with an L2 penalty, by L-BFGS. Codes are divided by their overall standard deviation in
    training. The strength of the penalty is chosen on the last `validation` training examples, which the classifier does
    not see while it is chosen; then it is fitted to all of them. Test data choose nothing.

    Args:
        train_codes, test_codes: Arrays of shape `(n, ...)`, flattened to `(n, features)`.
        train_labels, test_labels: Integer arrays of shape `(n,)`.
        validation: Integer, number of training examples held out to choose `C`; at most half of them are.
        C: Inverse strengths of the penalty to choose from, in the sense of scikit-learn. They are tried from the middle on, to
            the side where the error falls, as long as it does.
        iterations: Integer, the most iterations of L-BFGS for each.

    Returns:
        Dictionary of plain numbers: `error` (share of test examples classified wrongly, in percent), `interval` (a list of two:
        the 95 % interval of a bootstrap over the test examples), and the chosen `C`.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    probe = Probe(train_codes, train_labels, validation, C, iterations)
    return probe.measure(test_codes, test_labels)


class Probe:
    """A probe of one kind of codes: first chosen on training data, then fitted and measured.

    Args:
        train_codes, train_labels, validation, C, iterations: As in `probe`.

    Attributes:
        C: What was chosen.
        validation_error: The error with it on the examples held out, in percent.
    """

    def __init__(self, train_codes, train_labels, validation=10_000, C=REGULARISATIONS, iterations=150):
        codes = np.asarray(train_codes, "float32").reshape(len(train_codes), -1)
        self._scale = np.float32(codes.std(dtype="float64") or 1)
        self._x = compress(codes / self._scale)
        self._classes, self._labels = np.unique(train_labels, return_inverse=True)
        self._iterations = iterations
        kept = len(codes) - min(validation, len(codes) // 2)
        train, held_out = (self._x[:kept], self._labels[:kept]), (self._x[kept:], self._labels[kept:])
        start = np.zeros((self._x.shape[1] + 1, len(self._classes)))

        def attempt(c, near):
            weights = fit(*train, c, iterations, near)
            return 100 * float(np.mean(scores(held_out[0], weights).argmax(axis=1) != held_out[1])), c, weights

        self.validation_error, self.C, self._start = _best_from_the_middle(sorted(C), attempt, start)

    def measure(self, test_codes, test_labels):
        """Fits the probe to all training examples, and measures it on the test examples: see `probe`."""
        weights = fit(self._x, self._labels, self.C, self._iterations, self._start)
        return {**error_figures(self.wrong(weights, test_codes, test_labels)), "C": self.C}

    def measure_with(self, labels, test_codes, test_labels, draws=5, C=FEW_LABELS_REGULARISATIONS, seed=0):
        """The same where only so many `labels` are known: see `few_labels` of `probe_encoder`."""
        iterations, classes = self._iterations, len(self._classes)
        drawn = [balanced(self._labels, labels, np.random.default_rng([seed, draw])) for draw in range(draws)]
        starts = [np.zeros((self._x.shape[1] + 1, classes))] * draws
        parts = [(self._x[rows], self._labels[rows]) for rows in drawn]
        kept = [len(rows) - max(1, len(rows) // 5) for rows in drawn]

        def attempt(c, near):
            fits = [fit(x[:k], y[:k], c, iterations, start) for (x, y), k, start in zip(parts, kept, near, strict=True)]
            wrong = [scores(x[k:], w).argmax(axis=1) != y[k:] for (x, y), k, w in zip(parts, kept, fits, strict=True)]
            return 100 * float(np.mean(np.concatenate(wrong))), c, fits

        _, c, starts = _best_from_the_middle(sorted(C), attempt, starts)
        fits = [fit(x, y, c, iterations, start) for (x, y), start in zip(parts, starts, strict=True)]
        return {**error_figures([self.wrong(weights, test_codes, test_labels) for weights in fits]), "C": c}

    def wrong(self, weights, codes, labels):
        """Which examples the weights classify wrongly, booleans."""
        codes = np.asarray(codes, "float32").reshape(len(codes), -1) / self._scale
        return self._classes[scores(codes, weights).argmax(axis=1)] != np.asarray(labels)


def error_figures(wrong):
    """`error` in percent and its bootstrap `interval`, of which examples are classified wrongly: `(n,)` or `(draws, n)`."""
    wrong = np.asarray(wrong)
    low, high = bootstrap_interval(wrong)
    error, *interval = (round(100 * float(share), 4) for share in (wrong.mean(), low, high))
    return {"error": error, "interval": interval}


def _best_from_the_middle(values, attempt, start):
    """Walks over ordered values from the middle to the side where the error falls, each try begun where the last one ended.

    Args:
        attempt: Function of a value and a start, which returns the error, the value, and what to start the next from.

    Returns:
        What `attempt` returned with the lowest error, of those tried.
    """
    middle = (len(values) - 1) // 2
    best = attempt(values[middle], start)
    for side in (values[middle + 1 :], values[:middle][::-1]):
        walked = False
        for value in side:
            tried = attempt(value, best[2])
            if tried[0] >= best[0]:
                break
            best, walked = tried, True
        if walked:
            break
    return best


def balanced(labels, count, random):
    """Rows of `count` examples, as many of each class as of the others but for one, in random order."""
    order = random.permutation(len(labels))
    rank = np.empty(len(labels), int)  # how many of its class come before an example
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        rank[mine] = np.arange(len(mine))
    return random.permutation(order[np.argsort(rank[order], kind="stable")][:count])
