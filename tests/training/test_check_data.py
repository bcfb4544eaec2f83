"""What would fail after training is found before the first step."""

import dataclasses
import datetime
import json

import numpy as np
import pytest

from keras_sae.training import load_recipe, publish, train

X = np.random.default_rng(0).uniform(size=(40, 6, 6, 1)).astype("float32")
Y = np.arange(40) % 4
RECIPE = {
    "name": "mine_dense_l1",
    "title": "Mine",
    "epochs": 1,
    "batch_size": 20,
    "seed": 1,
    "data": {"name": "mine", "train": "train", "test": "test"},
    "model": {"class": "DenseAutoencoder", "code_units": 4, "sparsity": {"class": "L1", "l1": 0.001}},
    "optimizer": {"class": "SGD"},
}


def recipe_of(**changes):
    from keras_sae.training._recipe import from_data

    return from_data({**RECIPE, **changes})


def is_refused(tmp_path, arrays, message, **changes):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        train(recipe_of(**changes), tmp_path / "run", tmp_path, verbose=0)
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def with_nan(images):
    return np.where(np.arange(len(images))[:, None, None, None] == 3, np.nan, images).astype("float32")


GOOD = {"train_image": X, "train_label": Y, "test_image": X[:20], "test_label": Y[:20]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_image": with_nan(X[:20])}, r"1 of 20 images have NaN.*index 3 of data.test = 'test' of 'mine'"),
        ({"train_image": with_nan(X)}, r"index 3 of data.train"),
        ({"test_image": X[:20, :5]}, r"\(6, 6, 1\) in data.train.*\(5, 6, 1\) in data.test"),
        ({"test_label": Y[:20].astype(str)}, r"text in data.test.*return_inverse"),
        ({"train_label": np.eye(4, dtype=int)[Y]}, r"shape \(40, 4\) in data.train.*argmax"),
        ({"train_label": Y + 0.5}, "which are integers"),
        ({"test_image": X[:0], "test_label": Y[:0]}, "'test' of 'mine' is empty"),
    ],
)
def test_data_without_a_card_is_refused_before_training(tmp_path, changes, message):
    is_refused(tmp_path, {**GOOD, **changes}, message, probe={"validation": 10, "C": [1.0], "few_labels": [4]})


def test_missing_labels_and_splits_are_refused_before_training(tmp_path):
    unlabelled = {"train_image": X, "test_image": X[:20]}
    for section in ({"probe": {}}, {"finetune": {}}, {"anomaly": {}}, {"features": {"overlap": True}}):
        is_refused(tmp_path, unlabelled, rf"section \[{next(iter(section))}\].*data.train.*has none", **section)
    is_refused(tmp_path, {"train_image": X}, r"no split 'test'.*'train'")
    is_refused(tmp_path, GOOD, "'learning_rate'", anomaly={"optimizer": {"class": "SGD", "learning_rat": 1}})


def test_a_missing_package_is_found_before_training(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", **GOOD)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(ImportError, match=r"\[probe\] needs scikit-learn"):
        train(recipe_of(probe={}), tmp_path / "run", tmp_path, verbose=0)


ROW = {"what": "error", "value": 1.0, "source": "a paper"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"published": [{"what": "error", "value": 1.0}]}, "`published` needs source"),
        ({"published": [{**ROW, "value": "1 %"}]}, "published.value"),
        ({"published": [{**ROW, "source": 2013}]}, "`published.source` must be text"),
        ({"published": [{**ROW, "metrc": "probe.error"}]}, "'metric'"),
        ({"published": [{**ROW, "metric": "probe.eror"}], "probe": {}}, "does not measure.*'probe.error'"),
        ({"published": [{**ROW, "metric": "probe.labels_7.error"}], "probe": {"few_labels": [8]}}, "'probe.labels_8.error'"),
        ({"published": ROW}, "list of tables"),
        ({"title": 3}, "`title` must be text"),
        ({"notes": ["a"]}, "`notes` must be text"),
        ({"data": {**RECIPE["data"], "licence": 4}}, "`data.licence` must be text"),
        ({"probe": {"C": "high"}}, "`probe.C` must be a list of numbers"),
        ({"probe": {"few_labels": [2.5]}}, "whole numbers"),
        ({"probe": {"draws": 0}}, "probe.draws"),
        ({"finetune": {"epochs": "3"}}, "finetune.epochs"),
        ({"features": {"gabor": "yes"}}, "true or false"),
    ],
)
def test_fields_of_the_card_are_checked_when_a_recipe_is_read(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(**changes)


def test_every_figure_that_suites_measure_can_be_compared_with():
    for metric in ("probe.error", "probe.labels_8.error", "probe.pca.labels_8.error", "features.l0", "anomaly.classes.3"):
        row = {**ROW, "metric": metric}
        assert recipe_of(published=[row], probe={"few_labels": [8]}, anomaly={}).published == [row]


def test_a_run_without_a_card_is_finished_by_resuming_with_the_cause_mended(tmp_path):
    np.savez(tmp_path / "mine.npz", **GOOD)
    model = train(recipe_of(), tmp_path / "run", tmp_path, verbose=0)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["recipe"]["data"]["test"] = "gone"  # as a run of a version that looked at the test data only after training
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="no split 'gone'"):
        publish(tmp_path / "run", tmp_path)
    again = train(recipe_of(), tmp_path / "run", tmp_path, resume=True, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "On the 20 test images" in (publish(tmp_path / "run", tmp_path) / "README.md").read_text()
    with pytest.raises(ValueError, match="data differ"):
        train(
            dataclasses.replace(recipe_of(), data={**RECIPE["data"], "train": "test"}), tmp_path / "run", tmp_path, resume=True
        )


def test_recipes_that_cannot_be_read_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_recipe(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ValueError, match="not valid TOML"):
        load_recipe(path)
    with pytest.raises(ValueError, match="no dates"):
        recipe_of(title=datetime.date(2013, 1, 1))
