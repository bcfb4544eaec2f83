import numpy as np

from keras_sae.anomaly import AnomalyDetector
from keras_sae.layers import Standardize
from keras_sae.models import DenseAutoencoder


def test_errors_are_in_the_units_of_what_the_model_reconstructs():
    # Without scaling, the first column would hide the second.
    x = np.random.default_rng(0).normal([1000, 0], [100, 0.01], (200, 2)).astype("float32")
    model = DenseAutoencoder(2, code_units=4, preprocessing=Standardize())
    model.adapt(x)
    detector = AnomalyDetector(model).calibrate(x, false_positive_rate=0.1)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    expected = np.square(scaled - model.predict(x, verbose=0))
    np.testing.assert_allclose(detector.anomaly_map(x), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(detector.score_samples(x), expected.mean(axis=1), rtol=1e-3, atol=1e-4)
