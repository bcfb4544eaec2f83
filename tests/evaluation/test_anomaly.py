import keras
import numpy as np
import pytest

from keras_sae.evaluation import SUITES, anomaly, aupro, auroc, average_precision, outlier_detectors
from keras_sae.models import DenseAutoencoder


def test_areas_of_known_rankings():
    anomalous = np.array([True, True, False, False, False])
    assert auroc(anomalous, np.array([5, 4, 3, 2, 1])) == 1
    assert auroc(anomalous, np.array([1, 2, 3, 4, 5])) == 0
    assert auroc(anomalous, np.array([5, 2, 4, 3, 1])) == pytest.approx(4 / 6)
    assert auroc(anomalous, np.ones(5)) == 0.5
    assert auroc(anomalous, np.array([2, 1, 2, 1, 0])) == pytest.approx((2.5 + 1.5) / 6)


def test_areas_are_those_of_scikit_learn():
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(0)
    anomalous, scores = random.uniform(size=500) < 0.7, random.integers(0, 50, 500)
    assert auroc(anomalous, scores) == pytest.approx(roc_auc_score(anomalous, scores))
    assert average_precision(anomalous, scores) == pytest.approx(average_precision_score(anomalous, scores))


def test_overlap_of_regions_by_hand():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 0, :2] = masks[0, 3, 3] = True  # two regions; the second image is normal
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 0], maps[0, 3, 3], maps[1, 0, 0] = 3, 1, 2
    # Half of the first region lies above all normal pixels, the other half above none. The second has one of 29 above it.
    assert aupro(masks, maps, limit=0.3) == pytest.approx((0.5 + (0.3 - 1 / 29) / 0.3) / 2)
    assert aupro(masks, np.ones((2, 4, 4))) == 0
    with pytest.raises(ValueError, match="with 0 anomalous pixels"):
        aupro(masks & False, maps)


def lines(count, seed):
    """Samples of two classes, on two lines."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    x = np.zeros((count, 4))
    x[np.arange(count), 2 * labels] = x[np.arange(count), 2 * labels + 1] = random.normal(size=count)
    return x.astype("float32"), labels


def build():
    model = DenseAutoencoder(4, 1, activation="linear")
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


def test_an_autoencoder_of_a_class_tells_the_others():
    said = []
    result = anomaly(build, lines(200, 0), lines(200, 1), epochs=10, batch_size=20, report=said.append)
    assert set(result) == {"auroc", "interval", "classes"}
    assert set(result["classes"]) == {"0", "1"}
    assert result["auroc"] == pytest.approx(np.mean(list(result["classes"].values())))
    low, high = result["interval"]
    assert 95 < low <= result["auroc"] <= high
    assert len(said) == 2


@pytest.mark.slow  # four models and their detectors
def test_a_detector_for_each_class_and_seed():
    options = {"epochs": 8, "batch_size": 20, "score": "reconstruction", "seeds": 2, "false_positive_rate": 0.1}
    result = anomaly(build, lines(300, 0), lines(200, 1), **options)
    assert list(result["seeds"]) == ["0", "1"]
    assert result["auroc"] == pytest.approx(np.mean(list(result["seeds"].values())), abs=1e-3)
    assert result["average_precision"] > 95
    assert 0 <= result["false_positive_rate"] < 25
    assert "thresholds calibrated for 10 %" in "".join(SUITES["anomaly"].section(result, options, {}))


def test_detectors_of_scikit_learn_score_outliers_higher():
    random = np.random.default_rng(0)
    train, normal = (random.normal(size=(count, 3, 2)).astype("float32") for count in (200, 20))
    scores = outlier_detectors(train)
    assert set(scores) == {"pca", "isolation_forest", "one_class_svm", "nearest_neighbours"}
    for name in set(scores) - {"pca"}:
        assert scores[name](normal + 6).min() > np.median(scores[name](normal))
    flat = random.normal(size=(200, 20)) @ random.normal(size=(20, 40))  # PCA needs samples that do not fill the space
    error = outlier_detectors(flat)["pca"]
    assert error(random.normal(size=(20, 40))).min() > error(flat).max()


def test_labels_are_needed():
    with pytest.raises(ValueError, match="no labels"):
        anomaly(None, (np.zeros((3, 4)), None), (np.zeros((3, 4)), None))
