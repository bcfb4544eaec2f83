import numpy as np


def principal_components(x, components):
    """Fits principal components, as many as asked for or as there are.

    Args:
        x: float32 array of shape `(n, ...)`, flattened to `(n, features)`.
        components: Integer.

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
    solver = "full" if len(x) <= x.shape[1] else "covariance_eigh"
    pca = PCA(min(components, *x.shape), svd_solver=solver).fit(x)
    return PrincipalComponents(pca.mean_, pca.components_)


class PrincipalComponents:
    """The mean of data, `(features,)`, and the directions of most variance, `(components, features)`."""

    def __init__(self, mean, directions):
        self.mean = mean
        self.directions = directions

    def coefficients(self, x):
        """What inputs are in these directions, `(n, components)`."""
        return (x.reshape(len(x), -1) - self.mean) @ self.directions.T

    def reconstruct(self, x, components):
        """The inputs as the first components leave them."""
        directions = self.directions[:components]
        centred = x.reshape(len(x), -1) - self.mean
        return (np.dot(centred @ directions.T, directions) + self.mean).reshape(x.shape)
