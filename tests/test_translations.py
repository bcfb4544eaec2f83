"""The objectives of other tools, by hand, are the loss here times a constant: what the pages "Coming from" say of weights."""

import keras
import numpy as np
import pytest

from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL

D = 2
X = np.array([[1, 1], [0, 0]], "float32")
KL = 0.05 * np.log(0.05 / 0.5) + 0.95 * np.log(0.95 / 0.5)  # of a unit whose mean activation is 0.5


def autoencoder(kernel, bias=(0,), **arguments):
    """One unit with this encoding kernel, and a decoder whose kernel is zero."""
    model = DenseAutoencoder(D, 1, **arguments)
    model.encoder.get_layer("encode").set_weights([np.array(kernel, "float32").reshape(D, 1), np.array(bias, "float32")])
    for weight in model.decoder.weights:
        weight.assign(np.zeros(weight.shape))
    model.compile("adam", "mse", run_eagerly=True)
    return model


def with_sigmoids(weight, decay):
    return autoencoder(
        (2, -2),
        activation="sigmoid",
        output_activation="sigmoid",
        sparsity=ActivityKL(0.05, weight=weight),
        kernel_regularizer=keras.regularizers.L2(decay),
    )


def loss(model):
    return model.evaluate(X, verbose=0, return_dict=True)["loss"]


def test_the_objective_of_matlab():
    # W'x is 0 for both samples, so the unit is at 0.5, and each output is a sigmoid of 0. The errors are 0.5 and 0.5.
    beta, lam = 4, 0.004
    of_matlab = (0.5 + 0.5) / 2 + lam / 2 * (2**2 + 2**2) + beta * KL
    model = with_sigmoids(beta / D, lam / (2 * D))
    assert loss(model) == pytest.approx(of_matlab / D, rel=1e-4)


def test_the_objective_of_the_lecture_notes():
    beta, lam = 3, 0.003
    of_notes = (0.25 + 0.25) / 2 + lam / 2 * (2**2 + 2**2) + beta * KL
    model = with_sigmoids(2 * beta / D, lam / D)
    assert loss(model) == pytest.approx(2 / D * of_notes, rel=1e-4)


def test_the_objective_of_scikit_learn():
    # Codes are 3 and 0, reconstructions 0: the squared norm of the error is 2, and the sum of the codes 3.
    alpha = 0.1
    of_scikit_learn = 2 / 2 + alpha * 3
    model = autoencoder((1, 2), activation="relu", sparsity=keras.regularizers.L1(2 * alpha / D))
    assert loss(model) == pytest.approx(2 / (len(X) * D) * of_scikit_learn, rel=1e-5)


def test_the_objective_of_saelens():
    coefficient = 0.1
    of_saelens = np.mean([2 + coefficient * 3, 0])
    model = autoencoder((1, 2), activation="relu", sparsity=keras.regularizers.L1(coefficient / D))
    assert loss(model) == pytest.approx(of_saelens / D, rel=1e-5)


def test_scikit_learn_codes_minimise_the_same_energy():
    from sklearn.decomposition import sparse_encode

    from keras_sae.models import SparseCodingAutoencoder

    x = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")
    alpha = 0.3
    model = SparseCodingAutoencoder(8, 12, sparsity=keras.regularizers.L1(2 * alpha / 8), steps=500)
    atoms = keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel).T
    theirs = sparse_encode(x.astype("float64"), atoms.astype("float64"), algorithm="lasso_cd", alpha=alpha, max_iter=5000)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.encoder(x)), theirs, atol=1e-3)
