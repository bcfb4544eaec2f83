"""The registry of suites, and how their figures are compared with a card."""

import numpy as np
import pytest

from keras_sae.evaluation import SUITES, evaluate
from keras_sae.evaluation._suite import Suite, within
from keras_sae.models import DenseAutoencoder


def verdicts(suite, measured, card):
    return {".".join(path): agrees for path, _, _, agrees in suite.compare(measured, card)}


def test_a_new_suite_gets_what_it_asks_for_by_name(monkeypatch):
    def lengths(test, train, *, scale=1, report=None):
        report("Counting ...")
        return {"train": scale * len(train[0]), "test": scale * len(test[0])}

    suite = Suite(lengths, section=None)
    assert (suite.needs, suite.options) == ({"train", "test", "report"}, {"scale"})
    monkeypatch.setattr(type(SUITES), "__getitem__", lambda self, name: suite)
    said = []
    data = (np.zeros((3, 4)), None), (np.zeros((2, 4)), None)
    assert evaluate(None, *data, {"probe": {"scale": 10}}, report=said.append) == {"probe": {"train": 30, "test": 20}}
    assert said == ["Counting ..."]


def test_suites_that_train_need_a_model_to_train():
    data = np.zeros((4, 3)), np.zeros(4)
    with pytest.raises(ValueError, match=r"'anomaly'.*`build`"):
        evaluate(DenseAutoencoder(3, 2), data, data, {"anomaly": {}})


@pytest.mark.parametrize("name", ["probe", "finetune", "anomaly"])
def test_suites_that_read_labels_refuse_data_without(name):
    data = np.zeros((4, 3)), None
    with pytest.raises(ValueError, match="no labels"):
        evaluate(DenseAutoencoder(3, 2), data, data, {name: {}}, build=lambda: None)


def test_figures_agree_within_the_tolerance_of_their_key():
    suite = Suite(None, None, agrees=within({"error": 0.1, "shares": 0.01}), choices=frozenset({"C", "encoding"}))
    card = {
        "error": 2.0,
        "mse": 0.5,
        "shares": {"a": 0.3},
        "C": 0.1,
        "encoding": {"keep": 3},
        "interval": [1.0, 3.0],
        "none": None,
    }
    assert all(verdicts(suite, card, card).values())
    near = {**card, "error": 2.09, "mse": 0.5004, "shares": {"a": 0.309}, "C": 1.0, "encoding": {}}
    assert all(verdicts(suite, near, card).values())
    far = {**card, "error": 2.11, "mse": 0.5006, "shares": {"a": 0.311}, "interval": [1.0, 3.1], "none": 0.0}
    differing = [path for path, agrees in verdicts(suite, far, card).items() if not agrees]
    assert differing == ["error", "mse", "shares.a", "interval.1", "none"]


def test_a_figure_on_one_side_alone_differs():
    suite = Suite(None, None)
    assert suite.compare({"new": 1.0}, {"old": 2.0}) == [(("old",), None, 2.0, False), (("new",), 1.0, None, False)]


def test_the_tolerances_of_the_suites():
    def agrees(name, measured, card):
        return all(verdicts(SUITES[name], measured, card).values())

    tuned = {"error": 1.3, "interval": [1.1, 1.5], "frozen": {"error": 9.0, "interval": [8.5, 9.5]}}
    assert agrees("finetune", {**tuned, "error": 1.5, "interval": [1.3, 1.7]}, tuned)
    assert not agrees("finetune", {**tuned, "error": 1.51}, tuned)
    assert not agrees("finetune", {**tuned, "frozen": {"error": 9.6, "interval": [8.5, 9.5]}}, tuned)
    area = {"auroc": 95.0, "interval": [94.0, 96.0], "classes": {"0": 99.0}}
    assert agrees("anomaly", {"auroc": 95.9, "interval": [94.9, 96.9], "classes": {"0": 96.1}}, area)
    assert not agrees("anomaly", {**area, "auroc": 96.1}, area)
    assert not agrees("anomaly", {**area, "classes": {"0": 95.9}}, area)
    assert agrees("probe", {"error": 5.05, "C": 1.0}, {"error": 5.0, "C": 0.1})
    assert not agrees("probe", {"error": 5.15}, {"error": 5.0})
    assert not agrees("probe", {"features": 101}, {"features": 100})
    wide = {"raw_pixels": {"labels_100": {"error": 60.0, "interval": [59.0, 61.0]}}}  # a third of its width is 0.67 points
    for error, low, same in [(60.6, 59.6, True), (60.7, 59.0, False), (60.0, 58.3, False)]:
        assert agrees("probe", {"raw_pixels": {"labels_100": {"error": error, "interval": [low, 61.0]}}}, wide) == same
    assert not agrees("denoise", {"psnr": 20.1}, {"psnr": 20.0})
    assert not agrees("features", {"gabor": {"noise": 0.3}}, {"gabor": {"noise": 0.32}})
