import math

import numpy as np

from keras_sae.evaluation._code_statistics import as_input


def compare_with_pca(models, train, test, batch_size=256):
    """What nonlinearity buys: the reconstruction of each model beside that of principal components of the same code width.

    PCA is the best linear autoencoder of the data that it is fitted to: on those, no linear model of the same width errs
    less. It is fitted to the training data alone, in full, and both are measured on the test data.

    Args:
        models: A `SparseAutoencoder`, or a dictionary of such from names.
        train, test: Arrays of shape `(n, ...)`, inputs of the models. Images are flattened for PCA, and uint8 ones divided
            by 255.
        batch_size: Integer, inputs that a model is given at a time.

    Returns:
        List of dictionaries of plain numbers, one per model: its `name`; `code_units`, the entries of its code; `components`
        of the PCA, which are as many, or as many as the training data have; and for the model, and with the prefix `pca_`
        for the PCA, `reconstruction_error`, the mean squared error over inputs and their entries, and `explained_variance`,
        as of `keras_sae.metrics.ExplainedVariance`: 1 for a perfect reconstruction, 0 for the mean of the data.

    Raises:
        ImportError: scikit-learn is not installed.

    Reference:
        Baldi and Hornik, "Neural networks and principal component analysis", Neural Networks 2, 1989.
    """
    models = models if isinstance(models, dict) else {models.name: models}
    train, test = _as_floats("train", train), _as_floats("test", test)
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            "`train` and `test` are inputs of the same models, and of the same shape but for how many they are. "
            f"Received: train of shape {train.shape}, test of shape {test.shape}."
        )
    widths = {name: math.prod(model.encoder.output_shape[1:]) for name, model in models.items()}
    project = fit_pca(train, max(widths.values()))
    rows = []
    for name, model in models.items():
        measured = measure(test, model.predict(test, batch_size=batch_size, verbose=0))
        linear = measure(test, project(test, widths[name]))
        components = min(widths[name], len(train), math.prod(train.shape[1:]))
        row = {"name": name, "code_units": widths[name], "components": components, **measured}
        rows.append({**row, **{f"pca_{key}": value for key, value in linear.items()}})
    return rows


def fit_pca(x, components):
    """Fits a PCA of at most so many components, and returns a function that reconstructs inputs from so many of them."""
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise ImportError('The comparison with PCA needs scikit-learn: pip install "keras_sae[evaluation]".') from error

    x = x.reshape(len(x), -1)
    pca = PCA(min(components, *x.shape), svd_solver="full").fit(x)

    def project(x, components):
        directions = pca.components_[:components]
        centred = x.reshape(len(x), -1) - pca.mean_
        return (centred @ directions.T @ directions + pca.mean_).reshape(x.shape)

    return project


def measure(x, reconstruction):
    """`reconstruction_error` and `explained_variance`, plain numbers in a dictionary."""
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
