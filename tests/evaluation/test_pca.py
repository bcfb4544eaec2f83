import keras
import numpy as np
import pytest

from keras_sae.evaluation import compare_with_pca, swiss_roll
from keras_sae.metrics import ExplainedVariance
from keras_sae.models import DenseAutoencoder, SparseAutoencoder

VARIANCES = np.array([9, 4, 1, 0.25])


def data(shape=(4,), mean=0.0, count=200):
    """Inputs with exactly these principal variances."""
    random = np.random.default_rng(0)
    white = random.normal(size=(count, 4))
    white = np.linalg.qr(white - white.mean(axis=0))[0] * np.sqrt(count)
    directions = np.linalg.qr(random.normal(size=(4, 4)))[0]
    return (white * np.sqrt(VARIANCES) @ directions.T + mean).reshape(count, *shape).astype("float32")


@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4,), (2, 2, 1)])
def test_pca_loses_the_variances_that_it_drops(units, shape):
    x = data(shape, mean=3)
    (row,) = compare_with_pca(DenseAutoencoder(shape, units), x, x)
    lost = VARIANCES[units:].sum()
    assert row["pca_reconstruction_error"] == pytest.approx(lost / 4, rel=1e-4)
    assert row["pca_explained_variance"] == pytest.approx(1 - lost / VARIANCES.sum(), rel=1e-5)


def test_models_are_measured_as_the_metric_does_and_compared_with_pca_of_their_width():
    train, test = data(), data()[:50] + 1
    models = {"narrow": DenseAutoencoder(4, 1), "wide": DenseAutoencoder(4, 7)}
    rows = compare_with_pca(models, train, test, batch_size=16)
    assert [(row["name"], row["code_units"], row["components"]) for row in rows] == [("narrow", 1, 1), ("wide", 7, 4)]
    for row, model in zip(rows, models.values(), strict=True):
        reconstruction = model.predict(test, verbose=0)
        metric = ExplainedVariance()
        metric.update_state(test, reconstruction)
        assert row["reconstruction_error"] == pytest.approx(np.square(test - reconstruction).mean(), rel=1e-5)
        assert row["explained_variance"] == pytest.approx(float(metric.result()), rel=1e-4)
    (alone,) = compare_with_pca({"narrow": models["narrow"]}, train, test)
    assert rows[0]["pca_reconstruction_error"] == pytest.approx(alone["pca_reconstruction_error"], rel=1e-6)
    assert rows[1]["pca_reconstruction_error"] < 1e-9  # as many components as there are dimensions
    assert all(type(value) in (str, int, float) for row in rows for value in row.values())


def test_pca_is_fitted_to_the_training_data_alone():
    train, model = data(), DenseAutoencoder(4, 2)
    directions = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2][:2]
    test = np.random.default_rng(1).normal(size=(30, 4)).astype("float32") + 2
    centred = test - train.mean(axis=0)
    error = np.square(centred - centred @ directions.T @ directions).mean()
    assert compare_with_pca(model, train, test)[0]["pca_reconstruction_error"] == pytest.approx(error, rel=1e-4)


def test_a_linear_autoencoder_comes_near_pca_and_never_beats_it():
    x = data()
    model = DenseAutoencoder(4, 2, activation="linear")
    model.compile(keras.optimizers.Adam(0.05), "mse")
    for repeats in (1, 200):
        model.fit(np.tile(x, (repeats, 1)), batch_size=200, verbose=0)
        (row,) = compare_with_pca(model, x, x)
        assert row["reconstruction_error"] >= row["pca_reconstruction_error"]
    assert row["reconstruction_error"] < 1.05 * row["pca_reconstruction_error"]


def test_a_code_of_maps_has_the_width_of_all_its_entries():
    encoder = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 2, strides=2)])
    decoder = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Conv2DTranspose(1, 2, strides=2)])
    x = np.random.default_rng(0).uniform(size=(40, 4, 4, 1))
    assert compare_with_pca(SparseAutoencoder(encoder, decoder), x, x)[0]["components"] == 12


def test_uint8_images_are_scaled():
    stored = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype("uint8")
    model = DenseAutoencoder((4, 4, 1), 3)
    scaled = compare_with_pca(model, stored.astype("float32") / 255, stored)
    assert compare_with_pca(model, stored, stored) == scaled


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.ones((5, 4)), data(), "`train` must hold inputs that differ"),
        (data(), data()[:1], "Received: 1 input"),
        (data(), np.random.default_rng(0).normal(size=(9, 5)), r"test of shape \(9, 5\)"),
    ],
)
def test_bad_data_are_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        compare_with_pca(DenseAutoencoder(4, 2), train, test)


def test_without_scikit_learn_the_way_to_it_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"keras_sae\[evaluation\]"):
        compare_with_pca(DenseAutoencoder(4, 2), data(), data())
    with pytest.raises(ImportError, match=r"keras_sae\[evaluation\]"):
        swiss_roll()


# The Swiss roll


@pytest.mark.slow
def test_an_autoencoder_unrolls_what_pca_flattens():
    figures, clouds = swiss_roll(samples=1000, epochs=80)
    assert figures["pca_explained_variance"] < 0.75
    assert figures["reconstruction_error"] < figures["pca_reconstruction_error"] / 3
    assert clouds["position"].shape == (500,)
    for name, key in (("autoencoder", "reconstruction_error"), ("pca", "pca_reconstruction_error")):
        assert np.square(clouds[name] - clouds["data"]).mean() == pytest.approx(figures[key], rel=1e-4)


def test_a_seed_fixes_the_swiss_roll():
    (one, points), (two, _), (other, others) = (swiss_roll(samples=100, epochs=1, seed=seed) for seed in (1, 1, 2))
    assert one == two != other
    assert (points["data"] != others["data"]).any()


@pytest.mark.parametrize("arguments", [{"samples": 1}, {"epochs": 0}, {"samples": 10.0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        swiss_roll(**arguments)
