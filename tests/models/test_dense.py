import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL

IMAGES = np.random.default_rng(0).uniform(size=(20, 6, 5, 2)).astype("float32")


@pytest.mark.parametrize("tied", [False, True])
def test_restores_the_shape_of_its_input(tied):
    model = DenseAutoencoder((6, 5, 2), 7, sparsity=KSparse(3), tied=tied)
    assert model.predict(IMAGES, verbose=0).shape == IMAGES.shape
    assert model.encoder.get_layer("code").output.shape == (None, 7)
    assert model.encoder.output_shape == (None, 7)


def test_vectors_need_no_tuple():
    model = DenseAutoencoder(9, 4)
    assert model(np.zeros((2, 9), "float32")).shape == (2, 9)


def test_by_hand():
    model = DenseAutoencoder(2, 3, sparsity=KSparse(1), tied=True)
    model.encoder.get_layer("encode").kernel.assign([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0]])
    # [1, 1] is coded as [1, 3, 2], of which 3 is kept, and decoded as 3 * [2, 1].
    np.testing.assert_array_equal(ops.convert_to_numpy(model.encoder(np.ones((1, 2), "float32"))), [[0, 3, 0]])
    np.testing.assert_array_equal(ops.convert_to_numpy(model(np.ones((1, 2), "float32"))), [[6, 3]])


def test_tied_weights_are_one_kernel_with_the_gradient_of_both_uses():
    tied, untied = (DenseAutoencoder(12, 8, tied=tied) for tied in (True, False))
    assert tied.count_params() == 12 * 8 + 8 + 12
    assert untied.count_params() == 2 * 12 * 8 + 8 + 12
    x = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")
    untied.encoder.set_weights(tied.encoder.get_weights())
    before = ops.convert_to_numpy(tied.encoder.get_layer("encode").kernel).copy()
    untied.decoder.get_layer("decode").kernel.assign(before.T)
    for model in (tied, untied):
        model.compile(keras.optimizers.SGD(0.5), "mse")
        model.train_on_batch(x)
    step, encode = (ops.convert_to_numpy(model.encoder.get_layer("encode").kernel) - before for model in (tied, untied))
    decode = ops.convert_to_numpy(untied.decoder.get_layer("decode").kernel).T - before
    assert np.abs(encode).max() > 1e-3
    assert np.abs(decode).max() > 1e-3
    np.testing.assert_allclose(step, encode + decode, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("sparsity", "activation"),
    [
        (None, "relu"),
        (KSparse(2), "linear"),
        (ActivityKL(0.1), "sigmoid"),
        (ActivityKL(-0.9, activation_range="tanh"), "tanh"),
        ([KSparse(2), ActivityKL(0.1)], None),
    ],
)
def test_the_default_activation_is_the_one_that_the_mechanism_is_defined_for(sparsity, activation):
    if activation is None:  # KSparse asks for linear, which the KL penalty refuses: the user must decide
        with pytest.raises(ValueError, match="linear"):
            DenseAutoencoder(6, 4, sparsity=sparsity)
        assert DenseAutoencoder(6, 4, sparsity=sparsity, activation="sigmoid").penalties
    else:
        model = DenseAutoencoder(6, 4, sparsity=sparsity)
        assert model.encoder.get_layer("encode").activation.__name__ == activation


@pytest.mark.parametrize("k", [9, 100])
def test_k_above_the_code_is_refused_when_the_model_is_built(k):
    with pytest.raises(ValueError, match=f"k={k}, units=8"):
        DenseAutoencoder(6, 8, sparsity=KSparse(k))


@pytest.mark.parametrize("input_shape", [(), (None, 4), (0,), (2.5,), -3, "784", None])
def test_bad_input_shapes_are_refused(input_shape):
    with pytest.raises((ValueError, TypeError), match="input_shape"):
        DenseAutoencoder(input_shape, 8)


@pytest.mark.parametrize("code_units", [0, -1, 2.5, True])
def test_bad_code_units_are_refused(code_units):
    with pytest.raises(ValueError, match="code_units"):
        DenseAutoencoder(6, code_units)


def test_config_is_the_constructor_arguments():
    model = DenseAutoencoder(
        (3, 4),
        6,
        sparsity=[KSparse(2, alpha=2), keras.regularizers.L2(0.1)],
        tied=True,
        output_activation="sigmoid",
        name="mine",
    )
    again = DenseAutoencoder.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.name == "mine"
    assert again.encoder.layers[-2].alpha == 2.0


def test_a_mechanism_may_be_given_as_its_config():
    config = keras.saving.serialize_keras_object(KSparse(2))
    assert np.count_nonzero(ops.convert_to_numpy(DenseAutoencoder(6, 4, sparsity=config).encoder(np.ones((1, 6))))) == 2


def test_an_encoder_goes_under_a_new_head(sample):
    images, labels = sample
    encoder = DenseAutoencoder((28, 28, 1), 32, sparsity=[KSparse(8)]).encoder
    encoder.trainable = False
    head = keras.Sequential([encoder, keras.layers.Dense(10)])
    head.compile(
        keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    before = encoder.get_weights()
    losses = head.fit(images, labels, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for weight, other in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_two_seeded_runs_give_byte_equal_weights_files(tmp_path):
    for name in ("a", "b"):
        keras.backend.clear_session()  # automatic names count on, and names are in the file too
        keras.utils.set_random_seed(7)
        model = DenseAutoencoder(60, 16, sparsity=KSparse(4))
        model.compile("adam", "mse")
        model.fit(IMAGES.reshape(20, 60), epochs=3, verbose=0)
        model.save_weights(tmp_path / f"{name}.weights.h5")
    assert (tmp_path / "a.weights.h5").read_bytes() == (tmp_path / "b.weights.h5").read_bytes()


@pytest.mark.parametrize("tied", [False, True])
def test_unit_norm_holds_from_the_start_and_after_training(tied):
    model = DenseAutoencoder(12, 8, sparsity=keras.regularizers.L1(0.1), tied=tied, unit_norm=True)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")
    for _ in range(2):
        kernel = keras.ops.convert_to_numpy(
            model.encoder.get_layer("encode").kernel if tied else model.decoder.get_layer("decode").kernel
        )
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0 if tied else 1), 1, rtol=1e-5)
        model.fit(x, verbose=0)
    again = DenseAutoencoder.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.get_config()["unit_norm"] is True


@pytest.mark.slow
def test_unit_norm_keeps_an_l1_penalty_honest():
    # Without it the code shrinks and the decoder grows: the penalty falls and nothing gets sparser.
    x = np.random.default_rng(0).uniform(size=(256, 12)).astype("float32")
    norms, charged = {}, {}
    for unit_norm in (False, True):
        keras.utils.set_random_seed(0)
        model = DenseAutoencoder(12, 8, sparsity=keras.regularizers.L1(0.02), unit_norm=unit_norm)
        model.compile(keras.optimizers.Adam(0.02), "mse")
        charged[unit_norm] = model.fit(x, epochs=60, verbose=0).history["l1"][-1]
        norms[unit_norm] = np.linalg.norm(keras.ops.convert_to_numpy(model.decoder.get_layer("decode").kernel), axis=1).max()
    assert norms[False] > 1.5
    assert norms[True] < 1.001
    assert charged[True] > 1.2 * charged[False]
