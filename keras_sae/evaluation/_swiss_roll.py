import keras

from keras_sae._checks import check_integer
from keras_sae.evaluation._pca import compare_with_pca, principal_components
from keras_sae.models import DeepAutoencoder


def swiss_roll(samples=2000, epochs=100, seed=0):
    """Trains a deep autoencoder on a rolled-up sheet, which no plane fits, and compares it with PCA.

    The Swiss roll of scikit-learn is a surface in space; two numbers describe a place on it. A 3-128-64-2-64-128-3 autoencoder
    of ReLU units can learn them. PCA with two components can only drop the direction of least variance. The data are centred
    and divided by their overall standard deviation, so an error is in units of the mean variance of a coordinate.

    Args:
        samples: Integer, at least 2. Training points; half as many more are held out.
        epochs: Integer, at least 1. Epochs of training with Adam, batch size 100.
        seed: Integer. Fixes the points and the training.

    Returns:
        `(figures, clouds)`. `figures` is the row of `compare_with_pca` on the held-out points. `clouds` is a dictionary of
        arrays of these points: `data` and the reconstructions `pca` and `autoencoder`, of shape `(n, 3)`; and `position`, of
        shape `(n,)`, the angle of a point on the roll.

    Raises:
        ImportError: scikit-learn is not installed.

    Reference:
        Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006.
    """
    check_integer("samples", samples, "counts training points", at_least=2)
    check_integer("epochs", epochs, "counts epochs of training")
    try:
        from sklearn.datasets import make_swiss_roll
    except ImportError as error:
        raise ImportError('The Swiss roll needs scikit-learn: pip install "keras_sae[evaluation]".') from error

    points, position = make_swiss_roll(samples + samples // 2, random_state=seed)
    train = points[:samples]
    train, test = ((part - train.mean(axis=0)) / train.std() for part in (train, points[samples:]))
    train, test = train.astype("float32"), test.astype("float32")
    keras.utils.set_random_seed(seed)
    model = DeepAutoencoder(3, [128, 64], 2, activation="linear", name="autoencoder")
    steps = epochs * -(-samples // 100)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, steps)), "mse")
    model.fit(train, batch_size=100, epochs=epochs, verbose=0)
    (figures,) = compare_with_pca(model, train, test)
    clouds = {
        "data": test,
        "pca": principal_components(train, 2, exact=True).reconstruct(test, 2),
        "autoencoder": model.predict(test, verbose=0),
        "position": position[samples:],
    }
    return figures, clouds
