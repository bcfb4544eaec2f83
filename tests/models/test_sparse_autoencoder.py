import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import KSparse, TiedConvTranspose, TiedDense
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.regularizers import ActivityKL

X = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")


def pair(units=8, activation="sigmoid"):
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(units, activation=activation)])
    return encoder, keras.Sequential([keras.Input((units,)), keras.layers.Dense(12)])


def autoencoder(sparsity=None, **compile_options):
    model = SparseAutoencoder(*pair(), sparsity=sparsity)
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compile_options})
    return model


def mse(a, b):
    return float(np.mean(np.square(np.asarray(a, "float64") - np.asarray(b, "float64"))))


def test_is_the_decoder_after_the_encoder():
    model = autoencoder(KSparse(3))
    codes = model.encoder(X)
    np.testing.assert_allclose(ops.convert_to_numpy(model(X)), ops.convert_to_numpy(model.decoder(codes)), rtol=1e-6)
    assert model.encoder.get_layer("code").output.shape == (None, 8)


def test_without_y_the_target_is_the_input():
    model = autoencoder(metrics=["mae"])
    reconstruction = model.predict(X, verbose=0)
    logs = model.evaluate(X, return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["loss"], mse(X, reconstruction), rtol=1e-5)
    np.testing.assert_allclose(logs["mae"], np.abs(X - reconstruction).mean(), rtol=1e-5)
    assert model.evaluate(X, X, return_dict=True, verbose=0) == pytest.approx(logs)


@pytest.mark.usefixtures("eagerly")
def test_a_clean_target_is_used_where_it_is_given():
    model = autoencoder()
    noisy = X + 0.3
    logs = model.evaluate(noisy, X, return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["loss"], mse(X, model.predict(noisy, verbose=0)), rtol=1e-5)
    model.fit(noisy, X, verbose=0)


def test_the_loss_is_the_reconstruction_loss_and_each_penalty_once():
    model = autoencoder([ActivityKL(0.1, 0.5), keras.regularizers.L1(0.2), keras.regularizers.L1(0.3)])
    logs = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)
    codes = np.asarray(model.encoder.predict(X, verbose=0), "float64")
    rate = codes.mean(axis=0)
    kl = 0.5 * (0.1 * np.log(0.1 / rate) + 0.9 * np.log(0.9 / (1 - rate))).sum()
    l1 = np.abs(codes).sum(axis=1).mean()
    np.testing.assert_allclose(logs["activity_kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(logs["l1"], 0.2 * l1, rtol=1e-5)
    np.testing.assert_allclose(logs["l1_1"], 0.3 * l1, rtol=1e-5)
    np.testing.assert_allclose(logs["reconstruction_loss"], mse(X, model.predict(X, verbose=0)), rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], logs["reconstruction_loss"] + kl + 0.5 * l1, rtol=1e-4)


def test_losses_of_layers_are_kept_apart_from_the_reconstruction_loss():
    encoder, _ = pair()
    decoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(12, kernel_regularizer=keras.regularizers.L2(0.7))])
    model = SparseAutoencoder(encoder, decoder, sparsity=ActivityKL(0.1))
    model.compile("sgd", "mse")
    logs = model.evaluate(X, batch_size=64, return_dict=True, verbose=0)
    weight_decay = 0.7 * np.square(ops.convert_to_numpy(decoder.layers[-1].kernel)).sum()
    np.testing.assert_allclose(logs["reconstruction_loss"], mse(X, model.predict(X, verbose=0)), rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], logs["reconstruction_loss"] + logs["activity_kl"] + weight_decay, rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_the_encoder_carries_no_penalty():
    model = autoencoder([KSparse(3), ActivityKL(0.1)])
    model.fit(X, verbose=0)
    model.encoder(X)
    assert model.encoder.losses == []
    assert model.losses == []


def test_the_penalty_is_trained():
    model = autoencoder(ActivityKL(0.05, 10.0), optimizer=keras.optimizers.Adam(0.05))
    before = model.evaluate(X, return_dict=True, verbose=0)["activity_kl"]
    model.fit(np.tile(X, (60, 1)), verbose=0)
    after = model.evaluate(X, return_dict=True, verbose=0)["activity_kl"]
    assert after < before / 20
    np.testing.assert_allclose(ops.convert_to_numpy(model.encoder(X)).mean(axis=0), 0.05, atol=0.03)


def test_the_code_is_computed_once_a_step():
    calls = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            calls.append(1)
            return inputs

    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, activation="sigmoid"), Counted()])
    model = SparseAutoencoder(encoder, pair()[1], sparsity=ActivityKL(0.1))
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(X[:32], verbose=0)  # builds
    calls.clear()
    model.fit(X[:32], verbose=0)
    assert len(calls) == 1


def test_compute_loss_by_hand_does_not_use_the_code_of_another_batch():
    model = autoencoder(ActivityKL(0.1))
    model(X[:8])
    codes = ops.convert_to_numpy(model.encoder(X[8:16]))
    reconstruction = ops.convert_to_numpy(model.decoder(codes))
    by_hand = model.compute_loss(X[8:16], None, ops.convert_to_tensor(reconstruction), training=False)
    expected = mse(X[8:16], reconstruction) + float(ActivityKL(0.1).penalty(codes))
    np.testing.assert_allclose(ops.convert_to_numpy(by_hand), expected, rtol=1e-5)


def test_labels_in_place_of_a_target_are_refused():
    with pytest.raises(ValueError, match="drop the label"):
        autoencoder().fit(X, np.arange(64), verbose=0)
    with pytest.raises(ValueError, match=r"\(32, 7\)"):
        autoencoder().fit(X, X[:, :7], verbose=0)


def test_nan_input_ends_a_fit_with_terminate_on_nan():
    spoiled = X.copy()
    spoiled[3, 4] = np.nan
    model = autoencoder(KSparse(3))
    history = model.fit(spoiled, epochs=5, batch_size=64, callbacks=[keras.callbacks.TerminateOnNaN()], verbose=0)
    assert len(history.history["loss"]) == 1
    assert np.isnan(history.history["loss"][0])


@pytest.mark.parametrize("activation", ["relu", "linear", "softplus", "tanh"])
def test_a_kl_penalty_refuses_activations_that_leave_its_range(activation):
    with pytest.raises(ValueError, match="undefined"):
        SparseAutoencoder(*pair(activation=activation), sparsity=ActivityKL())
    with pytest.raises(ValueError, match="undefined"):
        DenseAutoencoder(12, 8, sparsity=ActivityKL(), activation=activation)


@pytest.mark.parametrize("sparsity", ["k_sparse", 3, [KSparse(2), "l1"], keras.layers.Dense])
def test_other_things_than_mechanisms_are_refused(sparsity):
    with pytest.raises(TypeError, match="Received"):
        SparseAutoencoder(*pair(), sparsity=sparsity)


def test_the_name_of_the_code_is_kept_for_it():
    inputs, codes = keras.Input((6,)), keras.Input((4,))
    encoder = keras.Model(inputs, keras.layers.Dense(4, name="code")(inputs))
    decoder = keras.Model(codes, keras.layers.Dense(6)(codes))
    with pytest.raises(ValueError, match='named "code" needs another name'):
        SparseAutoencoder(encoder, decoder, sparsity=KSparse(2))
    assert SparseAutoencoder(encoder, decoder, sparsity=keras.regularizers.L1(0.1)).encoder.get_layer("code").units == 4


def test_models_that_cannot_be_tapped_are_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="functional"):
        SparseAutoencoder(Subclassed(), pair()[1])
    with pytest.raises(TypeError, match=r"keras\.Model"):
        SparseAutoencoder(keras.layers.Dense(8), pair()[1])


def test_keras_files_keep_everything_in_a_fresh_process(tmp_path, in_fresh_process):
    model = autoencoder([KSparse(2), keras.regularizers.L1(0.1)])  # each mechanism by itself: see tests/conformance
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "x.npz", x=X, y=model.predict(X, verbose=0), loss=model.evaluate(X, verbose=0))
    in_fresh_process(
        """
import sys, keras, numpy as np, keras_sae
model = keras.models.load_model(sys.argv[1] + "/model.keras")
stored = np.load(sys.argv[1] + "/x.npz")
np.testing.assert_allclose(model.predict(stored["x"], verbose=0), stored["y"], rtol=1e-6, atol=1e-7)
np.testing.assert_allclose(model.evaluate(stored["x"], verbose=0), stored["loss"], rtol=1e-5)
assert model.optimizer.iterations == 2
model.fit(stored["x"], verbose=0)
""",
        tmp_path,
        forked=True,
    )


@pytest.mark.usefixtures("eagerly")
def test_weights_files_round_trip(tmp_path):
    model = autoencoder(KSparse(3))
    model.encoder.layers[-2].current_k.assign(5)
    model.save_weights(tmp_path / "a.weights.h5")
    again = SparseAutoencoder.from_config(model.get_config())
    again.load_weights(tmp_path / "a.weights.h5")
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


@pytest.mark.usefixtures("eagerly")
def test_a_tied_pair_of_ones_own_stays_tied_after_saving(tmp_path):
    encode = keras.layers.Dense(8)
    encoder = keras.Sequential([keras.Input((12,)), encode])
    decoder = keras.Sequential([keras.Input((8,)), TiedDense(encode)])
    model = SparseAutoencoder(encoder, decoder)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert len(again.trainable_weights) == len(model.trainable_weights) == 3
    np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_keras_unit_norm_holds_the_atoms_of_a_convolutional_decoder():
    # The axis that the README names: all of a transposed convolution's kernel (height, width, channels, units) but the units.
    encoder = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(5, 3, padding="same")])
    constraint = keras.constraints.UnitNorm(axis=(0, 1, 2))
    decoder = keras.Sequential(
        [keras.Input((6, 6, 5)), keras.layers.Conv2DTranspose(2, 3, padding="same", kernel_constraint=constraint)]
    )
    model = SparseAutoencoder(encoder, decoder, sparsity=keras.regularizers.L1(0.1))
    model.compile("sgd", "mse")
    model.fit(np.random.default_rng(0).uniform(size=(8, 6, 6, 2)), verbose=0)
    norms = np.linalg.norm(ops.convert_to_numpy(decoder.layers[-1].kernel).reshape(-1, 5), axis=0)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_a_tied_convolutional_pair_trains_and_stays_tied_after_saving(tmp_path):
    encode = keras.layers.Conv2D(5, 3, strides=2, padding="same")
    encoder = keras.Sequential([keras.Input((7, 7, 2)), encode])
    decoder = keras.Sequential([keras.Input((4, 4, 5)), TiedConvTranspose(encode, output_size=7)])
    model = SparseAutoencoder(encoder, decoder, sparsity=KSparse(2, across="positions"))
    model.compile("adam", "mse")
    x = np.random.default_rng(0).uniform(size=(16, 7, 7, 2)).astype("float32")
    losses = model.fit(x, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert len(again.trainable_weights) == 3
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
