import shutil

import numpy as np
import pytest

SHAPE = (6, 5, 1)


@pytest.fixture(scope="session")
def model():
    """A small model of images."""
    import keras

    from keras_sae.layers import KSparse
    from keras_sae.models import DenseAutoencoder

    keras.utils.set_random_seed(0)
    return DenseAutoencoder(SHAPE, 12, sparsity=KSparse(3, alpha=2))


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """The folder of its export, version 1, with the endpoints for images. Tests must not change it."""
    from keras_sae.serving import export

    directory = tmp_path_factory.mktemp("served") / "small"
    export(model, directory, image_inputs=True)
    return directory


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the export that a test may change."""
    return shutil.copytree(exported, tmp_path / "small")


@pytest.fixture(scope="session")
def golden(exported):
    """Golden inputs and outputs by endpoint: `golden["encode"]["inputs"]["inputs"]`."""
    arrays = {}
    with np.load(exported / "1" / "assets.extra" / "golden.npz", allow_pickle=False) as stored:
        for key in stored.files:
            endpoint, kind, name = key.split("/")
            arrays.setdefault(endpoint, {"inputs": {}, "outputs": {}})[kind][name] = stored[key]
    return arrays
