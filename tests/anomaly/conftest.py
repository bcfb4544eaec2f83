import keras
import numpy as np
import pytest

from keras_sae.models import DenseAutoencoder


def plane(count, seed):
    """Samples on a plane in five dimensions, with a little noise."""
    random = np.random.default_rng(seed)
    axes = np.random.default_rng(0).normal(size=(2, 5))
    return (random.normal(size=(count, 2)) @ axes + random.normal(0, 0.02, (count, 5))).astype("float32")


@pytest.fixture(scope="session")
def axes():
    """An autoencoder of tables that reconstructs the plane exactly, and `plane`."""
    model = DenseAutoencoder(5, 2, activation="linear", tied=True)
    directions = np.linalg.svd(plane(1000, 1), full_matrices=False)[2][:2]
    model.encoder.get_layer("encode").kernel.assign(directions.T)
    return model, plane


@pytest.fixture(scope="session")
def images():
    """A model of images that reconstructs their means over rows, and a function that makes images whose rows are constant."""
    inputs = keras.Input((8, 6, 3))
    rows = keras.layers.AveragePooling2D((1, 6))(inputs)
    encoder = keras.Model(inputs, rows)
    code = keras.Input((8, 1, 3))
    decoder = keras.Model(code, keras.layers.UpSampling2D((1, 6))(code))
    from keras_sae.models import SparseAutoencoder

    def striped(count, seed=0):
        random = np.random.default_rng(seed)
        x = np.repeat(random.uniform(50, 200, (count, 8, 1, 3)), 6, axis=2) + random.normal(0, 3, (count, 8, 6, 3))
        return np.clip(x, 0, 255).astype("uint8")

    return SparseAutoencoder(encoder, decoder), striped
