import numpy as np

from keras_sae.evaluation._encode import as_input
from keras_sae.evaluation._pca import principal_components

_COMPONENTS = 32
_NEIGHBOURS = 5
_MOST = 5000  # samples that the one-class SVM and the nearest neighbours keep


def outlier_detectors(train, seed=0):
    """Detectors of scikit-learn that learn from the same normal samples, to compare a detector with.

    Args:
        train: Array of normal samples, `(n, ...)`. uint8 images are divided by 255.
        seed: Integer. Fixes the isolation forest, and which 5,000 samples the one-class SVM and the nearest neighbours read.

    Returns:
        Dictionary from names to functions of an array of samples, which return scores, `(n,)`, high for anomalies:
        `pca` (mean squared error of the projection on 32 principal components), `isolation_forest`, `one_class_svm` (RBF kernel
        on these components) and `nearest_neighbours` (mean squared distance to the 5 nearest).

    Raises:
        ImportError: scikit-learn is not installed.
    """
    x = _flat(train)
    components = principal_components(x, min(_COMPONENTS, *x.shape))
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import NearestNeighbors
    from sklearn.svm import OneClassSVM

    some = x[np.random.default_rng(seed).permutation(len(x))[:_MOST]]
    forest = IsolationForest(random_state=seed).fit(x)
    machine = OneClassSVM(gamma="scale", nu=0.1).fit(components.coefficients(some))
    neighbours = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(some)), algorithm="brute").fit(some)
    scores = {
        "pca": lambda flat: np.square(flat - components.reconstruct(flat, _COMPONENTS)).mean(axis=1),
        "isolation_forest": lambda flat: -forest.score_samples(flat),
        "one_class_svm": lambda flat: -machine.score_samples(components.coefficients(flat)),
        "nearest_neighbours": lambda flat: np.square(neighbours.kneighbors(flat)[0]).mean(axis=1),
    }
    return {name: lambda values, score=score: score(_flat(values)) for name, score in scores.items()}


def _flat(x):
    x = as_input(x)
    return x.reshape(len(x), -1).astype("float32")
