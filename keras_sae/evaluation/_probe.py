import numpy as np

from keras_sae.evaluation._bootstrap import bootstrap_interval
from keras_sae.evaluation._feature_file import FeatureFile
from keras_sae.evaluation._few_rows import FewRows
from keras_sae.evaluation._logistic_regression import compress, cross_entropy, fit, scores

REGULARISATIONS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FEW_LABELS_REGULARISATIONS = (0.003, 0.03, 0.3, 3.0)


def probe(train_codes, train_labels, test_codes, test_labels, validation=10_000, C=REGULARISATIONS, iterations=150):
    """The test error of a linear classifier on frozen codes.

    The classifier is multinomial logistic regression with an L2 penalty, fitted by L-BFGS. Codes are divided by their overall
    standard deviation on the training data. The strength of the penalty is chosen by the cross-entropy of the last `validation`
    training examples; then the classifier is fitted to all training examples. No choice depends on the test data.

    Args:
        train_codes, test_codes: Arrays of shape `(n, ...)`, flattened to `(n, features)`. Or what `features_on_disk` gives,
            where they do not fit into memory: the result is the same.
        train_labels, test_labels: Integer arrays of shape `(n,)`.
        validation: Integer, number of training examples held out to choose `C`; at most half of them are.
        C: Inverse strengths of the penalty to choose from, as in scikit-learn. The search starts in the middle and goes to the
            side where the cross-entropy falls, as long as it falls.
        iterations: Integer, the maximum number of L-BFGS iterations of a fit.

    Returns:
        Dictionary of plain numbers: `error`, the share of misclassified test examples in percent; `interval`, a list of two:
        its 95 % percentile bootstrap confidence interval; and the chosen `C`.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    return Probe(train_codes, train_labels, validation, C, iterations).measure(test_codes, test_labels)


class Probe:
    """A linear classifier of codes: its penalty is chosen in the constructor, `measure` fits and tests it.

    Args:
        train_codes, train_labels, validation, C, iterations: As in `probe`.
        mirrored: Whether `train_codes` are those of `features_on_disk(flips=True, held_out=validation)`, with mirror images.

    Attributes:
        C: The chosen inverse strength.
        validation_error: The error with it on the held-out examples, in percent.
    """

    def __init__(self, train_codes, train_labels, validation=10_000, C=REGULARISATIONS, iterations=150, mirrored=False):
        if isinstance(train_codes, FeatureFile):
            self._x, self._scale = train_codes.over_deviation()
        else:
            self._x, self._scale = _over_deviation(train_codes)
        self._classes, labels = np.unique(train_labels, return_inverse=True)
        self._iterations = iterations
        held = held_out_of(len(labels), validation)
        kept = len(labels) - held
        # The rows of images and, below them, of their mirror images.
        self._rows = np.arange(len(labels))[None]
        if mirrored:
            below = np.concatenate([np.full(kept, kept), np.full(held, held)])
            self._rows = self._rows + np.where(np.arange(len(labels)) < kept, 0, kept)
            self._rows = np.concatenate([self._rows, self._rows + below])
        self._labels = np.empty(self._rows.size, int)
        self._labels[self._rows] = labels
        self._few = labels
        first = kept * len(self._rows)
        train = self._x[:first], self._labels[:first]
        held_out = self._x[first : first + held], self._labels[first : first + held]
        start = np.zeros((self._x.shape[1] + 1, len(self._classes)))

        def attempt(c, near):
            weights = fit(*train, c, iterations, near)
            logits = scores(held_out[0], weights)
            error = 100 * float(np.mean(logits.argmax(axis=1) != held_out[1]))
            return cross_entropy(logits, held_out[1]), c, weights, error

        _, self.C, self._start, self.validation_error = _best_from_the_middle(sorted(C), attempt, start)

    def measure(self, test_codes, test_labels):
        """Fits the classifier to all training examples and tests it. Returns what `probe` returns."""
        weights = fit(self._x, self._labels, self.C, self._iterations, self._start)
        return {**error_figures(self.wrong(weights, test_codes, test_labels)), "C": self.C}

    def measure_with(self, labels, test_codes, test_labels, draws=5, C=FEW_LABELS_REGULARISATIONS, seed=0):
        """The same with only `labels` labelled examples, drawn `draws` times. See `few_labels` of `probe_encoder`."""
        drawn = [balanced(self._few, labels, np.random.default_rng([seed, draw])) for draw in range(draws)]
        of_draws = [
            FewRows(self._x[self._rows[:, images].ravel()], self._few[images], len(self._classes), self._iterations)
            for images in drawn
        ]

        def attempt(c, near):
            fits = [rows.fit(c, start, held_out=True) for rows, start in zip(of_draws, near, strict=True)]
            return np.mean([rows.loss(weights) for rows, weights in zip(of_draws, fits, strict=True)]), c, fits

        _, c, starts = _best_from_the_middle(sorted(C), attempt, [None] * draws)
        fits = [rows.of_features(rows.fit(c, start)) for rows, start in zip(of_draws, starts, strict=True)]
        return {**error_figures([self.wrong(weights, test_codes, test_labels) for weights in fits]), "C": c}

    def wrong(self, weights, codes, labels):
        """Which examples the weights misclassify, booleans."""
        if isinstance(codes, FeatureFile):
            codes = FeatureFile(codes.path, codes.shape[1], codes.start, codes.start + len(codes), codes.scale * self._scale)
        else:
            codes = np.asarray(codes, "float32").reshape(len(codes), -1) / self._scale
        return self._classes[scores(codes, weights).argmax(axis=1)] != np.asarray(labels)


def held_out_of(count, validation):
    """How many of `count` training examples are held out to choose the penalty."""
    return min(validation, count // 2)


def linear_classifier(codes, labels, C, iterations):
    """Kernel and bias of the classifier that `Probe` fits with this `C`, for codes that are not scaled."""
    x, scale = _over_deviation(codes)
    weights = fit(x, np.unique(labels, return_inverse=True)[1], C, iterations)
    return weights[:-1] / scale, weights[-1]


def _over_deviation(codes):
    """Codes `(n, ...)` as what `fit` reads, `(n, features)`, divided by their overall deviation; and this deviation."""
    codes = np.asarray(codes, "float32").reshape(len(codes), -1)
    scale = np.float32(codes.std(dtype="float64") or 1)
    return compress(codes / scale), scale


def error_figures(wrong):
    """`error` in percent and its bootstrap `interval`, from which examples are misclassified: `(n,)` or `(draws, n)`."""
    wrong = np.asarray(wrong)
    low, high = bootstrap_interval(wrong)
    error, *interval = (round(100 * float(share), 4) for share in (wrong.mean(), low, high))
    return {"error": error, "interval": interval}


def error_text(figures):
    """The same for a card: "1.59 % (1.35 to 1.84)"."""
    low, high = figures["interval"]
    return f"{figures['error']:.2f} % ({low:.2f} to {high:.2f})"


def _best_from_the_middle(values, attempt, start):
    """Searches ordered values from the middle to the side where a loss falls; each attempt starts from the best one so far.

    Args:
        attempt: Function of a value and a start. Returns the loss, the value, the start for the next attempt, and what else is
            wanted of the best.

    Returns:
        The result of the attempt with the lowest loss.
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
    """Rows of `count` examples in random order, the same number of each class, or one more."""
    order = random.permutation(len(labels))
    rank = np.empty(len(labels), int)  # how many examples of its class come before an example
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        rank[mine] = np.arange(len(mine))
    return random.permutation(order[np.argsort(rank[order], kind="stable")][:count])
