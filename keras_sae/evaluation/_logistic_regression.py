import numpy as np

# Below this share of entries that are not zero, a compressed matrix is several times faster.
_SPARSE = 0.15
_GRADIENT = 1e-4


def fit(x, labels, C, iterations=150, start=None):
    """Multinomial logistic regression with an L2 penalty, by L-BFGS: what scikit-learn's `LogisticRegression` minimises.

        mean_i  -log softmax(x[i] @ kernel + bias)[labels[i]]  +  ||kernel||**2 / (2 * C * n)

    scikit-learn does it in float64, and copies float32 features to that in every step, which takes ten times as long.
    Here products with features are in float32, or of a compressed matrix, and the rest is in float64.

    Args:
        x: float32 array of shape `(n, features)`, or what `compress` made of it.
        labels: Integer array of shape `(n,)`, from 0 on.
        C: Float above 0, the inverse strength of the penalty.
        iterations: Integer, the most iterations. It ends earlier where no entry of the gradient exceeds 1e-4.
        start: Weights to start from, of an earlier fit. Zeros by default.

    Returns:
        float64 array of shape `(features + 1, classes)`: the kernel, and below it the bias.

    Raises:
        ImportError: scikit-learn is not installed, with which SciPy and threadpoolctl come.
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
        logits = scores(x, weights)
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        total = exponentials.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - (logits * one_hot).sum(axis=1)).mean(dtype="float64")
        loss += decay / 2 * (weights[:-1] ** 2).sum()
        error = (exponentials / total - one_hot) / np.float32(rows)  # (rows, classes)
        gradient = np.concatenate([x.T @ error + decay * weights[:-1], error.sum(axis=0, keepdims=True)])
        return float(loss), gradient.ravel()

    start = np.zeros(shape) if start is None else start
    options = {"maxiter": iterations, "gtol": _GRADIENT}
    # The many small products of L-BFGS gain nothing from threads, which on a busy machine wait for each other in every one.
    with threadpool_limits(1, user_api="blas"):
        return minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)


def scores(x, weights):
    """The logits of each row, float32 of shape `(n, classes)`."""
    weights = weights.astype("float32")
    return x @ weights[:-1] + weights[-1]


def compress(x):
    """`x` as a compressed matrix (CSR) where few of its entries are not zero, and else as it is."""
    if np.count_nonzero(x) > _SPARSE * x.size:
        return x
    try:
        from scipy.sparse import csr_array
    except ImportError:
        return x
    return csr_array(x)
