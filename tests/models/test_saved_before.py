"""Files that an earlier version of the package wrote load, and give the same codes and reconstructions."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_sae.models import ConvolutionalAutoencoder, StackedAutoencoder

FOLDER = Path(__file__).parent / "saved_before"


@pytest.mark.parametrize(("name", "kind"), [("stacked", StackedAutoencoder), ("convolutional", ConvolutionalAutoencoder)])
def test_keras_files_of_an_earlier_version_load_and_train_on(name, kind):
    # Two epochs of training, with a corruption, a penalty, KSparse and BatchKSparse: weights of every sort are in the files.
    model, expected = keras.models.load_model(FOLDER / f"{name}.keras"), np.load(FOLDER / "expected.npz")
    assert type(model) is kind
    np.testing.assert_allclose(model.encoder.predict(expected["x"], verbose=0), expected[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(expected["x"], verbose=0), expected[f"{name}_out"], rtol=1e-5, atol=1e-6)
    assert int(model.optimizer.iterations) == 2
    model.fit(expected["x"], verbose=0)
