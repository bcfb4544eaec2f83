import keras
import numpy as np
import pytest

from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import GroupL21

CODE = np.array([[3.0, 0.0], [4.0, 0.0], [0.0, -2.0]], "float32")
X = np.random.default_rng(0).uniform(size=(60, 12)).astype("float32")
LABELS = np.arange(60) % 3


def value(code, labels, weight=1.0):
    return float(GroupL21(weight).penalty(code, np.asarray(labels)))


def test_by_hand():
    np.testing.assert_allclose(value(CODE, [0, 0, 1]), np.sqrt((9 + 16) / 2) + 2, rtol=1e-6)
    np.testing.assert_allclose(value(CODE, [0, 1, 2], 0.5), 0.5 * (3 + 4 + 2), rtol=1e-6)


def test_labels_are_names_and_no_numbers():
    for labels in ([5, 5, -7], [1000000, 1000000, 0], [[5], [5], [-7]]):
        np.testing.assert_allclose(value(CODE, labels), value(CODE, [0, 0, 1]), rtol=1e-6)


def test_samples_of_a_class_that_share_their_units_cost_less():
    shared, apart = np.array([[1.0, 0.0], [1.0, 0.0]], "float32"), np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
    np.testing.assert_allclose(value(shared, [0, 0]), 1, rtol=1e-6)
    np.testing.assert_allclose(value(apart, [0, 0]), np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(value(apart, [0, 1]), 2, rtol=1e-6)  # of two classes it is the same as anything else


def test_a_silent_unit_costs_nothing_at_all():
    assert value(np.zeros((4, 3), "float32"), [0, 0, 1, 1]) == 0.0


def test_fit_takes_labels_and_the_rest_does_not_need_them():
    model = DenseAutoencoder(12, 8, sparsity=GroupL21(0.01))
    model.compile("adam", "mse")
    history = model.fit(X, LABELS, epochs=2, verbose=0, validation_data=(X, LABELS)).history
    assert (np.asarray(history["group_l21"]) > 0).all()
    without = model.evaluate(X, return_dict=True, verbose=0)
    assert without["group_l21"] == 0
    np.testing.assert_allclose(without["loss"], without["reconstruction_loss"], rtol=1e-6)
    labelled = model.evaluate(X, LABELS, batch_size=60, return_dict=True, verbose=0)
    np.testing.assert_allclose(labelled["group_l21"], value(model.encoder.predict(X, verbose=0), LABELS, 0.01), rtol=1e-5)
    assert model.predict(X, verbose=0).shape == X.shape


def test_labels_stand_beside_a_clean_target():
    model = DenseAutoencoder(12, 8, sparsity=GroupL21(0.01))
    model.compile("adam", "mse", metrics=["mae"])
    noisy = X + 0.3
    model.fit(noisy, (X, LABELS), verbose=0)
    logs = model.evaluate(noisy, (X, LABELS), return_dict=True, verbose=0)
    reconstruction = model.predict(noisy, verbose=0)
    np.testing.assert_allclose(logs["mae"], np.abs(reconstruction - X).mean(), rtol=1e-5)
    assert logs["group_l21"] > 0


@pytest.mark.parametrize(("labels", "message"), [(None, "needs class labels"), (np.eye(3)[LABELS], "argmax")])
def test_training_without_labels_or_with_one_hot_labels_is_refused(labels, message):
    model = DenseAutoencoder(12, 8, sparsity=GroupL21())
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=message):
        model.fit(X, labels, verbose=0)


def test_it_is_no_activity_regularizer():
    layer = keras.layers.Dense(3, activity_regularizer=GroupL21())
    with pytest.raises(TypeError, match=r"fit\(x, labels\)"):
        layer(X)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), "1"])
def test_bad_weights_are_refused(weight):
    with pytest.raises(ValueError, match="Received"):
        GroupL21(weight)
