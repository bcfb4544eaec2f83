import numpy as np

from keras_sae.evaluation._feature_file import FeatureFile

# Below this share of nonzero entries, a compressed matrix is several times faster.
_SPARSE = 0.15
# When L-BFGS stops by default.
_GRADIENT = 1e-4


def fit(x, labels, C, iterations=150, start=None, **options):
    """Fits multinomial logistic regression with an L2 penalty by L-BFGS, the objective of scikit-learn's `LogisticRegression`.

        mean_i  -log softmax(x[i] @ kernel + bias)[labels[i]]  +  ||kernel||**2 / (2 * C * n)

    scikit-learn works in float64 and copies float32 features to it in every step, which takes ten times as long. Here products
    with features are in float32, or of a compressed matrix, and the rest is in float64.

    Args:
        x: float32 or float64 array of shape `(n, features)`, its compressed form (`compress`), or a `FeatureFile`.
        labels: Integer array of shape `(n,)`, starting at 0.
        C: Float above 0, the inverse strength of the penalty.
        iterations: Integer, the maximum number of iterations. The fit stops earlier if no entry of the gradient exceeds 1e-4.
        start: Weights of an earlier fit to start from. Zeros by default.
        options: Other options of SciPy's L-BFGS-B.

    Returns:
        float64 array of shape `(features + 1, classes)`: the kernel, and below it the bias.

    Raises:
        ImportError: scikit-learn, which brings SciPy and threadpoolctl, is not installed.
    """
    try:
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError('The probe needs scikit-learn: pip install "keras_sae[evaluation]".') from error

    rows = len(labels)
    classes = int(labels.max()) + 1 if start is None else start.shape[1]
    shape = (x.shape[1] + 1, classes)
    one_hot = np.eye(classes, dtype="float32")[labels]
    decay = 1 / (C * rows)

    def objective(flat):
        weights = flat.reshape(shape)
        loss, gradient, start = decay / 2 * (weights[:-1] ** 2).sum(), 0.0, 0
        for part, of_part in _parts(x, weights):
            wanted = one_hot[start : start + part.shape[0]]
            logits = scores(part, of_part)
            logits -= logits.max(axis=1, keepdims=True)
            exponentials = np.exp(logits)
            total = exponentials.sum(axis=1, keepdims=True)
            loss += (np.log(total[:, 0]) - (logits * wanted).sum(axis=1)).sum(dtype="float64") / rows
            error = (exponentials / total - wanted) / np.float32(rows)  # (part, classes)
            gradient = gradient + np.concatenate([part.T @ error, error.sum(axis=0, keepdims=True)]).astype("float64")
            start += part.shape[0]
        gradient[:-1] = gradient[:-1] / getattr(x, "scale", 1) + decay * weights[:-1]
        return float(loss), gradient.ravel()

    start = np.zeros(shape) if start is None else start
    options = {"maxiter": iterations, "gtol": _GRADIENT, **options}
    # The many small products of L-BFGS gain nothing from threads. On a busy machine, threads wait for each other in each one.
    with threadpool_limits(1, user_api="blas"):
        return minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)


def scores(x, weights):
    """The logits of each row, `(n, classes)`, in the precision of `x`."""
    if isinstance(x, FeatureFile):
        return np.concatenate([scores(part, of_part) for part, of_part in _parts(x, weights)])
    weights = weights.astype(x.dtype)
    return x @ weights[:-1] + weights[-1]


def cross_entropy(logits, labels):
    """What chooses the penalty: two often have nearly the same number of errors, so that rounding would decide."""
    from scipy.special import log_softmax

    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean(dtype="float64")


def _parts(x, weights):
    """Arrays of rows, and weights that suit them: for features on disk, the weights are divided by the scale."""
    if not isinstance(x, FeatureFile):
        return [(x, weights)]
    scaled = np.concatenate([weights[:-1] / x.scale, weights[-1:]])
    return ((part, scaled) for part in x.stored_parts())


def compress(x):
    """`x` as a compressed matrix (CSR) if few of its entries are nonzero, else unchanged."""
    if np.count_nonzero(x) > _SPARSE * x.size:
        return x
    try:
        from scipy.sparse import csr_array
    except ImportError:
        return x
    return csr_array(x)
