import keras
import numpy as np
import pytest

from keras_sae.evaluation import anomaly, auroc
from keras_sae.models import DenseAutoencoder


def test_areas_of_known_rankings():
    anomalous = np.array([True, True, False, False, False])
    assert auroc(anomalous, np.array([5, 4, 3, 2, 1])) == 1
    assert auroc(anomalous, np.array([1, 2, 3, 4, 5])) == 0
    assert auroc(anomalous, np.array([5, 2, 4, 3, 1])) == pytest.approx(4 / 6)
    assert auroc(anomalous, np.ones(5)) == 0.5
    assert auroc(anomalous, np.array([2, 1, 2, 1, 0])) == pytest.approx((2.5 + 1.5) / 6)


def test_areas_are_those_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    anomalous, scores = random.uniform(size=500) < 0.7, random.integers(0, 50, 500)
    assert auroc(anomalous, scores) == pytest.approx(roc_auc_score(anomalous, scores))


def test_an_autoencoder_of_a_class_tells_the_others():
    random = np.random.default_rng(0)

    def data(count):
        labels = random.integers(0, 2, count)
        x = np.zeros((count, 4))
        x[np.arange(count), 2 * labels] = x[np.arange(count), 2 * labels + 1] = random.normal(size=count)
        return x.astype("float32"), labels

    built = []

    def build():
        keras.utils.set_random_seed(len(built))
        model = DenseAutoencoder(4, 1, activation="linear")
        model.compile(keras.optimizers.Adam(0.05), "mse")
        built.append(model)
        return model

    said = []
    result = anomaly(build, data(200), data(200), epochs=10, batch_size=20, report=said.append)
    assert set(result["classes"]) == {"0", "1"}
    assert result["auroc"] == pytest.approx(np.mean(list(result["classes"].values())))
    low, high = result["interval"]
    assert 95 < low <= result["auroc"] <= high
    assert len(built) == len(said) == 2


def test_labels_are_needed():
    with pytest.raises(ValueError, match="no labels"):
        anomaly(None, (np.zeros((3, 4)), None), (np.zeros((3, 4)), None))
