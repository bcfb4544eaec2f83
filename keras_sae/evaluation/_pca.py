import math

import numpy as np

from keras_sae.evaluation._encode import as_input
from keras_sae.evaluation._suite import check_reconstructs_inputs


def compare_with_pca(models, train, test, batch_size=256):
    """Compares the reconstructions of models with those of PCA with the same code width.

    PCA is the best linear autoencoder: on the data that it is fitted to, no linear model of the same width has a lower squared
    error. Here it is fitted to the training data, and both are measured on the test data.

    Args:
        models: A `SparseAutoencoder`, or a dictionary from names to models.
        train, test: Arrays of shape `(n, ...)`, inputs of the models. Images are flattened for PCA. uint8 images are divided
            by 255.
        batch_size: Integer, inputs per batch.

    Returns:
        List of dictionaries of plain numbers, one per model: its `name`; `code_units`, the number of entries of its code;
        `components` of the PCA, the same number or the rank of the training data; and `reconstruction_error`, the mean squared
        error over inputs and their entries, and `explained_variance` as in `keras_sae.metrics.ExplainedVariance`: 1 for a
        perfect reconstruction, 0 for the mean of the data. Figures of PCA have the prefix `pca_`.

    Raises:
        ImportError: scikit-learn is not installed.

    Reference:
        Baldi and Hornik, "Neural networks and principal component analysis", Neural Networks 2, 1989.
    """
    models = models if isinstance(models, dict) else {models.name: models}
    train, test = _as_floats("train", train), _as_floats("test", test)
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            "`train` and `test` are inputs of the same models and must have the same shape, except for the number of inputs. "
            f"Received: train of shape {train.shape}, test of shape {test.shape}."
        )
    for model in models.values():
        check_reconstructs_inputs("PCA", model)
    widths = {name: math.prod(model.encoder.output_shape[1:]) for name, model in models.items()}
    pca = principal_components(train, max(widths.values()), exact=True)
    rows = []
    for name, model in models.items():
        measured = _measure(test, model.predict(test, batch_size=batch_size, verbose=0))
        linear = _measure(test, pca.reconstruct(test, widths[name]))
        components = min(widths[name], len(train), math.prod(train.shape[1:]))
        row = {"name": name, "code_units": widths[name], "components": components, **measured}
        rows.append({**row, **{f"pca_{key}": value for key, value in linear.items()}})
    return rows


def principal_components(x, components, exact=False):
    """Fits principal components.

    Args:
        x: float32 array of shape `(n, ...)`, flattened to `(n, features)`.
        components: Integer, how many. Fewer if the data has fewer.
        exact: Whether to decompose the data itself. By default its covariance is decomposed if there are more inputs than
            features: faster, but small variances are less precise.

    Returns:
        A `PrincipalComponents`.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise ImportError('PCA needs scikit-learn: pip install "keras_sae[evaluation]".') from error

    x = x.reshape(len(x), -1)
    solver = "full" if exact or len(x) <= x.shape[1] else "covariance_eigh"
    pca = PCA(min(components, *x.shape), svd_solver=solver).fit(x)
    return PrincipalComponents(pca.mean_, pca.components_)


class PrincipalComponents:
    """The mean of data, `(features,)`, and the directions of largest variance, `(components, features)`."""

    def __init__(self, mean, directions):
        self.mean = mean
        self.directions = directions

    def coefficients(self, x):
        """The coordinates of inputs along these directions, `(n, components)`."""
        return (x.reshape(len(x), -1) - self.mean) @ self.directions.T

    def reconstruct(self, x, components):
        """The inputs, projected on the first `components` directions."""
        directions = self.directions[:components]
        centred = x.reshape(len(x), -1) - self.mean
        return (np.dot(centred @ directions.T, directions) + self.mean).reshape(x.shape)


def _measure(x, reconstruction):
    error = float(np.square(x - reconstruction, dtype="float64").mean())
    variance = float(x.var(axis=0, dtype="float64").mean())
    return {"reconstruction_error": error, "explained_variance": 1 - error / variance}


def _as_floats(name, x):
    x = np.asarray(x)
    if len(x) < 2 or (x == x[0]).all():
        raise ValueError(
            f"`{name}` must hold inputs that differ, or there is no variance to explain. Received: {len(x)} inputs."
        )
    return as_input(x).astype("float32")
