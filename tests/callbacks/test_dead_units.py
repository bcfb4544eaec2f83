import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.callbacks import DeadUnitMonitor, KSchedule
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder, SparseAutoencoder, SparseCodingAutoencoder

X = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")
DEAD = [1, 4]


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def kill(layer):
    """Makes two units of an encoding layer silent behind a ReLU."""
    kernel, bias = as_numpy(layer.kernel).copy(), as_numpy(layer.bias).copy()
    kernel[..., DEAD], bias[DEAD] = 0, -1
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)


def dense(tied=False, learning_rate=0.0):
    # All kernels positive, so that on positive inputs every unit but the killed ones fires.
    model = DenseAutoencoder(12, 8, tied=tied, kernel_initializer=keras.initializers.RandomUniform(0.1, 0.2))
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    kill(model.encoder.get_layer("encode"))
    return model


def test_reports_the_units_that_never_fire():
    model = dense()
    history = model.fit(X, epochs=2, callbacks=[DeadUnitMonitor(X)], verbose=0).history
    assert history["dead_units"] == [2, 2]
    assert "resampled_units" not in history
    assert (as_numpy(model.encoder.get_layer("encode").kernel)[:, DEAD] == 0).all()


def test_reports_every_so_many_epochs_and_keeps_the_last_report():
    history = dense().fit(X, epochs=3, callbacks=[DeadUnitMonitor(X, every=2)], verbose=0).history
    assert history["dead_units"] == [2, 2]  # of epochs 2 and 3


def test_the_threshold_says_what_fires():
    model = DenseAutoencoder(12, 8, activation="sigmoid")
    model.compile("sgd", "mse")
    for threshold, dead in ((0.0, 0), (0.999, 8)):
        assert model.fit(X, callbacks=[DeadUnitMonitor(X, threshold=threshold)], verbose=0).history["dead_units"] == [dead]


@pytest.mark.parametrize("tied", [False, True])
def test_resampled_units_fire_and_the_others_are_left_alone(tied):
    model = dense(tied)
    encode = model.encoder.get_layer("encode")
    before = as_numpy(encode.kernel).copy()
    history = model.fit(X, epochs=2, callbacks=[DeadUnitMonitor(X, resample=True)], verbose=0).history
    assert history["dead_units"] == [2, 0]
    assert history["resampled_units"] == [2, 0]
    after = as_numpy(encode.kernel)
    living = np.setdiff1d(np.arange(8), DEAD)
    np.testing.assert_array_equal(after[:, living], before[:, living])
    # The new units have the mean norm of the others, and their mean bias.
    np.testing.assert_allclose(
        np.linalg.norm(after[:, DEAD], axis=0), np.linalg.norm(before[:, living], axis=0).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(as_numpy(encode.bias)[DEAD], as_numpy(encode.bias)[living].mean(), atol=1e-6)
    if not tied:
        kernel = as_numpy(model.decoder.get_layer("decode").kernel)
        norms = np.linalg.norm(kernel, axis=1)
        np.testing.assert_allclose(norms[DEAD], norms[living].mean(), rtol=1e-5)
        # The decoder writes in the direction that the encoder reads.
        cosine = (kernel[DEAD] * after[:, DEAD].T).sum(axis=1) / norms[DEAD] / np.linalg.norm(after[:, DEAD], axis=0)
        np.testing.assert_allclose(cosine, 1, rtol=1e-5)


def test_the_new_direction_is_a_poorly_reconstructed_input_less_the_mean():
    x = np.full((50, 12), 0.5, "float32")
    x[7, 3] = 40  # reconstructed so badly that it is drawn for certain
    model = dense()
    model.fit(x, epochs=1, callbacks=[DeadUnitMonitor(x, resample=True)], verbose=0)
    new = as_numpy(model.encoder.get_layer("encode").kernel)[:, DEAD[0]]
    np.testing.assert_array_equal(np.argmax(np.abs(new)), 3)
    assert new[3] / np.linalg.norm(new) > 0.99


def test_what_the_optimizer_remembers_of_them_becomes_zero():
    model = dense(learning_rate=1e-3)
    model.fit(X, epochs=1, verbose=0)
    for slot in model.optimizer.variables[2:]:
        slot.assign(np.ones(slot.shape))
    kill(model.encoder.get_layer("encode"))
    monitor = DeadUnitMonitor(X, resample=True)
    monitor.set_model(model)
    monitor.on_train_begin()
    monitor.on_epoch_end(0, {})
    slots = {slot.path.split("/", 1)[1]: as_numpy(slot) for slot in model.optimizer.variables[2:]}
    for name in ("encode_kernel_momentum", "encode_kernel_velocity", "encode_bias_momentum", "encode_bias_velocity"):
        np.testing.assert_array_equal((slots[name] == 0).reshape(-1, 8).all(axis=0), np.isin(np.arange(8), DEAD))
    for name in ("decode_kernel_momentum", "decode_kernel_velocity"):
        np.testing.assert_array_equal((slots[name] == 0).all(axis=1), np.isin(np.arange(8), DEAD))
    assert (slots["decode_bias_momentum"] == 1).all()


def test_no_unit_is_resampled_after_the_last_epoch_for_it():
    model = dense()
    history = model.fit(X, epochs=2, callbacks=[DeadUnitMonitor(X, resample=True, last_resample=0)], verbose=0).history
    assert history["resampled_units"] == [0, 0]
    assert history["dead_units"] == [2, 2]


def test_the_same_seed_draws_the_same_inputs():
    kernels = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(5)
        model = dense()
        model.fit(X, epochs=1, callbacks=[DeadUnitMonitor(X, resample=True, seed=seed)], verbose=0)
        kernels.append(as_numpy(model.encoder.get_layer("encode").kernel))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()


@pytest.mark.parametrize("decode", ["transpose", "convolution"])
def test_convolutional_units_are_resampled_from_windows(decode):
    x = np.random.default_rng(1).uniform(size=(20, 7, 6, 2)).astype("float32")
    initializer = keras.initializers.RandomUniform(0.1, 0.2)
    encode = keras.layers.Conv2D(8, 3, activation="relu", padding="same", kernel_initializer=initializer)
    encoder = keras.Sequential([keras.Input((7, 6, 2)), encode])
    layer = keras.layers.Conv2DTranspose if decode == "transpose" else keras.layers.Conv2D
    decoder = keras.Sequential([keras.Input((7, 6, 8)), layer(2, 3, padding="same")])
    model = SparseAutoencoder(encoder, decoder)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    kill(encode)
    history = model.fit(x, epochs=2, callbacks=[DeadUnitMonitor(x, resample=True)], verbose=0).history
    assert history["dead_units"] == [2, 0]
    kernel, new = as_numpy(decoder.layers[-1].kernel), as_numpy(encode.kernel)[..., DEAD[0]]
    atom = kernel[..., DEAD[0]] if decode == "transpose" else kernel[:, :, DEAD[0], :]
    cosine = (atom * new).sum() / np.linalg.norm(atom) / np.linalg.norm(new)
    np.testing.assert_allclose(cosine, 1, rtol=1e-4)


def test_a_deep_encoder_is_resampled_from_what_its_last_layer_reads():
    encode = keras.layers.Dense(8, activation="relu", kernel_initializer=keras.initializers.RandomUniform(0.1, 0.2))
    hidden = keras.layers.Dense(5, activation="sigmoid")
    model = SparseAutoencoder(
        keras.Sequential([keras.Input((12,)), hidden, encode]), keras.Sequential([keras.Input((8,)), keras.layers.Dense(12)])
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    kill(encode)
    history = model.fit(X, epochs=2, callbacks=[DeadUnitMonitor(X, resample=True)], verbose=0).history
    assert history["dead_units"] == [2, 0]


def test_models_without_kernels_around_the_code_are_refused():
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Activation("relu")])
    model = SparseAutoencoder(encoder, keras.Sequential([keras.Input((12,)), keras.layers.Dense(12)]), sparsity=KSparse(2))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="a layer with a kernel"):
        model.fit(X, callbacks=[DeadUnitMonitor(X, resample=True)], verbose=0)
    plain = keras.Sequential([keras.Input((12,)), keras.layers.Dense(12)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="SparseAutoencoder"):
        plain.fit(X, X, callbacks=[DeadUnitMonitor(X)], verbose=0)


@pytest.mark.parametrize(
    "arguments", [{"x": X[:0]}, {"every": 0}, {"every": 1.5}, {"threshold": -1}, {"threshold": float("nan")}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        DeadUnitMonitor(**{"x": X, **arguments})


def sparse(k=2, units=16):
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(12, units, KSparse(k), tied=True)
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    return model


def test_while_k_falls_units_are_judged_at_the_current_k_and_not_resampled():
    model = sparse()
    final = int((as_numpy(model.encoder(X)) == 0).all(axis=0).sum())
    monitor = DeadUnitMonitor(X, resample=True)
    history = model.fit(X, epochs=4, batch_size=64, callbacks=[KSchedule(16, steps=3), monitor], verbose=0).history
    assert final > 0
    assert history["dead_units"][0] < final
    assert history["resampled_units"][:3] == [0, 0, 0]
    assert history["resampled_units"][3] <= history["dead_units"][2]


def test_a_unit_that_was_active_in_the_last_report_is_left_alone():
    model = dense()
    monitor = DeadUnitMonitor(X, resample=True)
    monitor.set_model(model)
    monitor.on_train_begin()
    monitor.last_dead = {"units": [DEAD[0]]}
    monitor.on_epoch_end(0, {})
    assert monitor.last_report == {"dead_units": 2, "resampled_units": 1}
    assert (as_numpy(model.encoder.get_layer("encode").kernel)[:, DEAD[1]] == 0).all()


def test_resampling_never_makes_the_error_much_larger():
    bright = 5 + X  # far from centred: new units of the whole norm would win everywhere
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(12, 32, KSparse(2), tied=True, center=False)
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    before = float(np.square(as_numpy(model(bright)) - bright).mean())
    with pytest.warns(UserWarning, match="center=True"):
        model.fit(bright, epochs=3, callbacks=[DeadUnitMonitor(bright, resample=True)], verbose=0)
    after = float(np.square(as_numpy(model(bright)) - bright).mean())
    assert after <= 1.5**3 * before
    assert np.isfinite(after)


def test_data_frames_data_sets_and_pixels_are_read():
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(DeadUnitMonitor(pandas.DataFrame(X)).x, X)
    monitor = DeadUnitMonitor(np.array([[0, 255] * 6], "uint8"))
    dense().fit(X, callbacks=[monitor], verbose=0)
    np.testing.assert_array_equal(monitor.x, [[0, 1] * 6])
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        np.testing.assert_array_equal(DeadUnitMonitor(tf.data.Dataset.from_tensor_slices(X).batch(10)).x, X)
        with pytest.raises(ValueError, match="no input"):
            DeadUnitMonitor(tf.data.Dataset.from_tensor_slices(X[:0]).batch(10))


def quantize(model):
    model.encoder.quantize("int8", filters="encode")


def adapt_by_lora(model):
    model.encoder.get_layer("encode").enable_lora(2)


def freeze_encoder(model):
    model.encoder.trainable = False


def freeze_decoder(model):
    model.decoder.trainable = False


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(quantize, "is quantised"), (adapt_by_lora, "has LoRA"), (freeze_encoder, "is frozen"), (freeze_decoder, "is frozen")],
)
@pytest.mark.parametrize("tied", [False, True])
def test_kernels_that_do_not_train_are_not_resampled(change, sentence, tied):
    model = dense(tied)
    change(model)
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=sentence):
        model.fit(X, callbacks=[DeadUnitMonitor(X, resample=True)], verbose=0)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    DeadUnitMonitor(X).set_model(model)


def test_a_code_that_no_kernel_makes_is_not_resampled():
    model = SparseCodingAutoencoder(12, 8, keras.regularizers.L1(0.1), inference="lista")
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="filters of its own"):
        model.fit(X, callbacks=[DeadUnitMonitor(X, resample=True)], verbose=0)


def test_the_moving_averages_of_a_new_unit_are_its_new_weights():
    model = DenseAutoencoder(12, 8, kernel_initializer=keras.initializers.RandomUniform(0.1, 0.2))
    # Weights do not move, so that their averages stay, and `fit` ends with the averages as weights.
    model.compile(keras.optimizers.SGD(0.0, use_ema=True, ema_momentum=0.9), "mse")
    encode = model.encoder.get_layer("encode")
    kill(encode)
    model.fit(X, epochs=2, callbacks=[DeadUnitMonitor(X, resample=True)], verbose=0)
    norms = np.linalg.norm(as_numpy(encode.kernel), axis=0)
    living = [unit for unit in range(8) if unit not in DEAD]
    np.testing.assert_allclose(norms[DEAD], norms[living].mean(), rtol=1e-4)
