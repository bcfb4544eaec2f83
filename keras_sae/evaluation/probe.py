import warnings

import numpy as np

REGULARISATIONS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def probe(train_codes, train_labels, test_codes, test_labels, validation=10_000, C=REGULARISATIONS, iterations=150):
    """The error of a linear classifier on frozen codes: what a code knows about the labels that it never saw.

    Multinomial logistic regression with an L2 penalty, by L-BFGS. Codes are divided by their overall standard deviation in
    training. The strength of the penalty is chosen on the last `validation` training examples, which the classifier does
    not see while it is chosen; then it is fitted to all of them. Test data choose nothing.

    Args:
        train_codes, test_codes: Arrays of shape `(n, ...)`, flattened to `(n, features)`.
        train_labels, test_labels: Integer arrays of shape `(n,)`.
        validation: Integer, number of training examples held out to choose `C`; at most half of them are.
        C: Inverse strengths of the penalty to choose from, in the sense of scikit-learn.
        iterations: Integer, the most iterations of L-BFGS.

    Returns:
        Dictionary of plain numbers: `error` (share of test examples classified wrongly, in percent) and the chosen `C`.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError('The probe needs scikit-learn: pip install "keras_sae[evaluation]".') from error

    train_codes = np.asarray(train_codes, "float32").reshape(len(train_codes), -1)
    test_codes = np.asarray(test_codes, "float32").reshape(len(test_codes), -1)
    scale = float(train_codes.std(dtype="float64")) or 1.0
    train_codes, test_codes = train_codes / scale, test_codes / scale
    kept = len(train_codes) - min(validation, len(train_codes) // 2)

    def fitted(c, rows):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the budget of iterations is part of the definition
            return LogisticRegression(C=c, max_iter=iterations).fit(train_codes[:rows], train_labels[:rows])

    def error(classifier, codes, labels):
        return 100 * float(np.mean(classifier.predict(codes) != labels))

    best = C[0]
    if len(C) > 1:
        best = min(C, key=lambda c: error(fitted(c, kept), train_codes[kept:], train_labels[kept:]))
    return {"error": error(fitted(best, len(train_codes)), test_codes, test_labels), "C": best}
