import json
import sys

import keras
import numpy as np
import pytest
from mechanisms import OTHERS

from keras_sae import evaluation, layers, regularizers
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL, GroupL21


def test_statistics_equal_those_computed_by_hand(sample):
    images, _ = sample
    model = DenseAutoencoder((28, 28, 1), 50, sparsity=KSparse(4, alpha=2))
    codes = model.encoder.predict(images, verbose=0)
    measured = evaluation.code_statistics(model, images, batch_size=100)
    assert measured["l0"] == pytest.approx(np.count_nonzero(codes, axis=1).mean())
    assert measured["mean_rate"] == pytest.approx(codes.mean(), rel=1e-4)
    assert measured["dead_units"] == (codes == 0).all(axis=0).sum()
    assert measured["units"] == 50
    assert measured["active_above"] == 0
    error = np.square(model.predict(images, verbose=0) - images).mean()
    assert measured["reconstruction_error"] == pytest.approx(error, rel=1e-4)
    variance = np.square(images - images.mean(axis=0)).mean()
    assert measured["explained_variance"] == pytest.approx(1 - error / variance, abs=1e-4)


def test_explained_variance_is_that_of_inputs_after_preprocessing():
    x = np.random.default_rng(0).normal(1, 2, (40, 6)).astype("float32")
    model = DenseAutoencoder(6, 20, sparsity=KSparse(4), preprocessing=keras.layers.UnitNormalization(), center=True)
    model.adapt(x)
    target = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = 1 - np.square(model.predict(x, verbose=0) - target).sum() / np.square(target - target.mean(axis=0)).sum()
    assert evaluation.code_statistics(model, x, batch_size=7)["explained_variance"] == pytest.approx(expected, abs=1e-4)


def test_units_that_are_never_zero_are_counted_above_a_tenth(sample):
    images, _ = sample
    model = DenseAutoencoder((28, 28, 1), 20, sparsity=ActivityKL())
    codes = model.encoder.predict(images, verbose=0)
    measured = evaluation.code_statistics(model, images)
    assert measured["active_above"] == 0.1
    assert measured["l0"] == pytest.approx((codes > 0.1).sum(axis=1).mean())


def test_uint8_images_are_scaled(sample):
    images, _ = sample
    model = DenseAutoencoder((28, 28, 1), 20)
    stored = np.rint(images[:10] * 255).astype("uint8")
    np.testing.assert_allclose(evaluation.encode(model, stored), evaluation.encode(model, images[:10]), rtol=1e-6)


def test_no_inputs_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        evaluation.code_statistics(DenseAutoencoder(4, 2), np.zeros((0, 4), "float32"))


def blobs(rng, count, spread):
    labels = rng.integers(0, 3, count)
    return np.eye(3)[labels] + rng.normal(scale=spread, size=(count, 3)), labels


def test_the_probe_separates_what_is_separable_and_guesses_what_is_not():
    rng = np.random.default_rng(0)
    easy, easy_test = blobs(rng, 600, 0.05), blobs(rng, 300, 0.05)
    assert evaluation.probe(*easy, *easy_test)["error"] == 0.0
    noise = rng.normal(size=(600, 3)), rng.integers(0, 3, 600)
    error = evaluation.probe(*noise, rng.normal(size=(300, 3)), rng.integers(0, 3, 300))["error"]
    assert 50 < error < 80


def test_the_probe_does_not_depend_on_the_scale_of_codes():
    rng = np.random.default_rng(0)
    (x, y), (test_x, test_y) = blobs(rng, 600, 0.5), blobs(rng, 300, 0.5)
    assert evaluation.probe(x, y, test_x, test_y) == evaluation.probe(1000 * x, y, 1000 * test_x, test_y)


def test_the_probe_chooses_its_penalty_without_the_test_data():
    rng = np.random.default_rng(0)
    (x, y), (test_x, test_y) = blobs(rng, 300, 0.7), blobs(rng, 300, 0.7)
    chosen = {evaluation.probe(x, y, test_x, labels)["C"] for labels in (test_y, rng.permutation(test_y))}
    assert len(chosen) == 1


def test_the_probe_chooses_on_rows_that_its_candidates_were_not_fitted_to(monkeypatch):
    module = sys.modules["keras_sae.evaluation._probe"]
    fitted, fit = [], module.fit

    def watched(x, labels, C, *more):
        fitted.append((C, x.shape[0]))
        return fit(x, labels, C, *more)

    monkeypatch.setattr(module, "fit", watched)
    rng = np.random.default_rng(0)
    chosen = evaluation.probe(*blobs(rng, 300, 0.7), *blobs(rng, 100, 0.7), validation=80, C=[0.1, 10.0])["C"]
    assert fitted == [(0.1, 220), (10.0, 220), (chosen, 300)]


def test_evaluate_compares_codes_with_raw_pixels(sample):
    images, labels = sample
    model = DenseAutoencoder((28, 28, 1), 20, sparsity=KSparse(4))
    said = []
    suites = {"probe": {"C": [0.1], "few_labels": [20]}, "features": {}}
    result = evaluation.evaluate(model, (images[:200], labels[:200]), (images[200:], labels[200:]), suites, report=said.append)
    assert list(result) == ["probe", "features"]
    kinds = [result["probe"], *(result["probe"][name] for name in ("random", "pca", "raw_pixels"))]
    for figures in kinds:
        low, high = figures["interval"]
        assert 0 < low < figures["error"] < high
        assert figures["labels_20"]["error"] > 0
    assert (result["probe"]["features"], result["probe"]["pca"]["components"]) == (20, 20)
    assert result["features"]["l0"] == 4
    assert len(said) == 5
    assert json.loads(json.dumps(result)) == result
    with pytest.raises(ValueError, match="'prob'"):
        evaluation.evaluate(model, (images, labels), (images, labels), {"prob": {}})


@pytest.mark.slow
def test_raw_mnist_pixels_err_as_published(tfds_data_dir):
    # 7.2 % with all 60,000 images (arXiv:1312.5663, table 1); a tenth of them is enough to see that the probe is right.
    from keras_sae.datasets import load_arrays

    (x, y), (test_x, test_y) = (load_arrays("mnist", split, tfds_data_dir) for split in ("train[:6000]", "test"))
    assert 8 < evaluation.probe(x, y, test_x, test_y, validation=1000, C=[0.003, 0.01, 0.03])["error"] < 11


@pytest.mark.slow
def test_compare_measures_each_mechanism_and_the_plain_autoencoder(sample):
    images, labels = sample
    train, test = (images[:192], labels[:192]), (images[192:], labels[192:])
    chosen = {"plain ReLU": {}, "KSparse": {"sparsity": KSparse(3)}, "GroupL21": {"sparsity": GroupL21(1e-4)}}
    sentences = []
    rows = evaluation.compare(train, test, units=24, epochs=2, batch_size=64, rounds=2, chosen=chosen, report=sentences.append)
    assert [row["name"] for row in rows] == list(chosen)
    assert rows[1]["l0"] == 3.0
    assert rows[0]["step_ratio"] == 1.0
    assert all(row["step_ms"] > 0 and 0 < row["probe_accuracy"] <= 100 for row in rows)
    assert len(sentences) == 4
    again = evaluation.compare(train, test, units=24, epochs=2, batch_size=64, rounds=0, chosen=chosen)
    assert [row["reconstruction_error"] for row in again] == pytest.approx([row["reconstruction_error"] for row in rows])
    assert "step_ms" not in again[0]


def test_compare_has_every_public_mechanism():
    made = [arguments["sparsity"] for arguments in evaluation.mechanisms(40).values() if arguments]
    compared = {type(each).__name__ for each in made if not isinstance(each, list)}
    public = {*layers.__all__, *regularizers.__all__, "L1", "L2"}
    assert compared == public - OTHERS - {"Contrast"}  # which drives codes apart, and makes none sparse


@pytest.mark.parametrize("arguments", [{"units": 0}, {"epochs": 0}, {"rounds": -1}, {"units": 1.5}])
def test_compare_refuses_bad_arguments(arguments, sample):
    with pytest.raises(ValueError, match="Received"):
        evaluation.compare(sample, sample, **arguments)
