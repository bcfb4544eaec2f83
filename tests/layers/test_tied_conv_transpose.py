import itertools
import random

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import TiedConvTranspose, TiedDense
from keras_sae.models import SparseAutoencoder

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses tf.GradientTape, or XLA by name")

CONVOLUTIONS = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
# Rank, stride, padding, kernel size and the size of the first axis, where the next ones are longer by one each.
EVERY_CASE = list(itertools.product((1, 2, 3), (1, 2, 3), ("valid", "same"), (1, 2, 3, 4, 5), (5, 6, 7)))


def built_conv(*shape, filters=4, kernel_size=3, **options):
    """A convolution without bias, of inputs of `shape`: sizes, then channels."""
    conv = CONVOLUTIONS[len(shape) - 1](filters, kernel_size, use_bias=False, **options)
    conv.build((None, *shape))
    return conv


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


def assert_adjoint(conv, *shape):
    """`<conv(x), z> == <x, tied(z)>`, for a random pair."""
    x = normal(2, *shape)
    codes = array(conv(x))
    z = normal(*codes.shape)
    tied = TiedConvTranspose(conv, output_size=shape[:-1], use_bias=False)
    decoded = array(tied(z))
    assert decoded.shape == x.shape == tied.compute_output_shape(z.shape)
    np.testing.assert_allclose(np.vdot(x, decoded), np.vdot(codes, z), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("rank", "stride", "padding", "kernel_size", "size"), random.Random(0).sample(EVERY_CASE, 48))
def test_is_the_adjoint(rank, stride, padding, kernel_size, size):
    shape = (*range(size, size + rank), 2)
    assert_adjoint(built_conv(*shape, kernel_size=kernel_size, strides=stride, padding=padding), *shape)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 2), {"padding": "causal", "strides": 3, "kernel_size": 4}),
        ((9, 2), {"padding": "causal", "strides": 3, "kernel_size": 2}),
        ((8, 2), {"padding": "causal", "dilation_rate": 3}),
        ((7, 8, 2), {"padding": "same", "dilation_rate": (2, 3)}),
        ((7, 8, 2), {"padding": "valid", "dilation_rate": (3, 1), "kernel_size": (2, 4)}),
        ((7, 8, 2), {"padding": "same", "strides": (3, 2), "kernel_size": (2, 5)}),
        ((7, 8, 4), {"padding": "same", "strides": 2, "groups": 2}),
        ((5, 6, 7, 2), {"padding": "same", "dilation_rate": 2}),
    ],
)
def test_is_the_adjoint_of_causal_dilated_and_grouped_convolutions(shape, options):
    assert_adjoint(built_conv(*shape, **options), *shape)


@pytest.mark.parametrize(
    ("padding", "output_size", "expected"),
    [
        ("valid", None, [1, 2, 13, 20, 30]),
        ("valid", 6, [1, 2, 13, 20, 30, 0]),  # the last input position is read by no window
        ("same", None, [1, 2, 13, 20]),  # one position was padded, at the right
        ("same", 3, [2, 13, 20]),  # one at each end
        ("causal", None, [3 + 10, 20, 30, 0]),
        ("causal", 3, [3 + 10, 20, 30]),
    ],
)
def test_each_size_by_hand(padding, output_size, expected):
    conv = built_conv(8, 1, filters=1, strides=2, padding=padding)
    conv.kernel.assign(np.array([1, 2, 3], "float32").reshape(3, 1, 1))
    tied = TiedConvTranspose(conv, output_size=output_size, activation="relu")
    codes = np.array([1, 10], "float32").reshape(1, 2, 1)
    tied.build(codes.shape)
    tied.bias.assign([-2.0])
    np.testing.assert_array_equal(array(tied(codes)).ravel(), np.maximum(np.array(expected) - 2, 0))


@pytest.mark.parametrize(("padding", "kernel_size"), [("valid", 3), ("same", 4)])
def test_is_the_transpose_of_keras_with_a_bias_of_its_own(padding, kernel_size):
    conv = built_conv(8, 10, 2, kernel_size=kernel_size, strides=2, padding=padding)
    tied = TiedConvTranspose(conv, activation="tanh")
    untied = keras.layers.Conv2DTranspose(2, kernel_size, strides=2, padding=padding, activation="tanh")
    codes = normal(2, 4, 5, 4)
    for layer in (tied, untied):
        layer.build(codes.shape)
        layer.bias.assign([0.5, -0.5])
    untied.kernel.assign(conv.kernel)
    np.testing.assert_allclose(array(tied(codes)), array(untied(codes)), rtol=1e-5, atol=1e-6)


def test_channels_first_is_channels_last_moved():
    last = built_conv(7, 8, 2, strides=2, padding="same")
    first = keras.layers.Conv2D(4, 3, strides=2, padding="same", data_format="channels_first")
    first.build((None, 2, 7, 8))
    first.kernel.assign(last.kernel)
    codes = normal(3, 4, 4, 4)
    tied = TiedConvTranspose(first, (7, 8), activation="softplus")
    decoded = array(tied(np.moveaxis(codes, -1, 1)))
    assert decoded.shape == tied.compute_output_shape((3, 4, 4, 4)) == (3, 2, 7, 8)
    expected = array(TiedConvTranspose(last, (7, 8), activation="softplus")(codes))
    np.testing.assert_allclose(np.moveaxis(decoded, 1, -1), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("padding", "kernel_size", "expected"),
    [("same", 3, lambda size: 2 * size), ("same", 1, lambda size: 2 * size), ("valid", 4, lambda size: 2 * size + 2)],
)
def test_unknown_sizes_are_decoded_to_the_default(padding, kernel_size, expected):
    conv = built_conv(None, None, 1, kernel_size=kernel_size, strides=2, padding=padding)
    tied = TiedConvTranspose(conv)
    decoder = keras.Sequential([keras.Input((None, None, 4)), tied])
    assert decoder.output_shape == (None, None, None, 1)
    for height, width in ((3, 4), (5, 2)):
        codes = normal(2, height, width, 4)
        decoded = decoder.predict(codes, verbose=0)
        assert decoded.shape == (2, expected(height), expected(width), 1)
        alone = TiedConvTranspose(conv, decoded.shape[1:-1])
        np.testing.assert_allclose(decoded, array(alone(codes)), rtol=1e-5, atol=1e-6)


def test_a_named_size_makes_unknown_sizes_known():
    tied = TiedConvTranspose(built_conv(7, 7, 1, strides=2, padding="same"), output_size=7)
    decoder = keras.Sequential([keras.Input((None, None, 4)), tied])
    assert decoder.output_shape == (None, 7, 7, 1)
    with pytest.raises(ValueError, match="incompatible"):
        tied(np.ones((1, 5, 5, 4), "float32"))


def test_no_rows():
    tied = TiedConvTranspose(built_conv(7, 7, 2, strides=2, padding="same"), output_size=7)
    assert tied(np.ones((0, 4, 4, 4), "float32")).shape == (0, 7, 7, 2)


def test_follows_the_kernel_when_it_changes():
    conv = built_conv(4, 1, filters=2)
    tied = TiedConvTranspose(conv, use_bias=False)
    tied(np.ones((1, 1, 2), "float32"))
    conv.kernel.assign(np.ones((3, 1, 2)))
    np.testing.assert_array_equal(array(tied(np.ones((1, 1, 2), "float32"))), np.full((1, 3, 1), 2.0))


@tensorflow_only
def test_the_gradient_of_the_kernel_is_the_sum_of_both_directions():
    import tensorflow as tf

    conv, copy = (built_conv(7, 6, 2, strides=2, padding="same") for _ in range(2))
    copy.kernel.assign(conv.kernel)
    x = normal(3, 7, 6, 2)

    def gradients(tied_to, *kernels):
        tied = TiedConvTranspose(tied_to, output_size=(7, 6))
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(tied(conv(x)) - x))
        return tape.gradient(loss, [kernel.value for kernel in kernels])

    encoding, decoding = gradients(copy, conv.kernel, copy.kernel)
    (both,) = gradients(conv, conv.kernel)
    np.testing.assert_allclose(both, encoding + decoding, rtol=1e-4, atol=1e-6)
    assert float(tf.norm(encoding)) > 0.01
    assert float(tf.norm(decoding)) > 0.01


def autoencoder(**options):
    encode = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", **options)
    encoder = keras.Sequential([keras.Input((7, 6, 2)), encode])
    tied = TiedConvTranspose(encode, output_size=(7, 6), activation="sigmoid", bias_initializer="ones", **options)
    return SparseAutoencoder(encoder, keras.Sequential([keras.Input((4, 3, 4)), tied]))


def test_a_pair_stays_tied_after_saving(tmp_path):
    model = autoencoder()
    model.compile("sgd", "mse")
    x = normal(8, 7, 6, 2)
    model.fit(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    (encode,), (tied,) = again.encoder.layers, again.decoder.layers
    assert tied.tied_to is encode
    assert len(again.trainable_weights) == len(model.trainable_weights) == 3
    assert tied.output_size == (7, 6)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    again.fit(x, verbose=0)


def test_a_decoder_alone_is_made_from_its_config():
    tied = TiedConvTranspose(built_conv(7, 6, 2), output_size=(7, 6), use_bias=False)
    again = TiedConvTranspose.from_config(tied.get_config())
    assert again(normal(1, 5, 4, 4)).shape == (1, 7, 6, 2)
    assert again.get_config() == tied.get_config()


def test_mixed_precision():
    model = autoencoder(dtype="mixed_float16")
    x = normal(8, 7, 6, 2)
    exact = SparseAutoencoder.from_config(autoencoder().get_config())
    exact.set_weights(model.get_weights())
    decoded = model(x)
    assert keras.backend.standardize_dtype(decoded.dtype) == "float16"
    np.testing.assert_allclose(array(decoded), array(exact(x)), atol=1e-2)
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(x, verbose=0).history["loss"][0])


@tensorflow_only
def test_compiled_by_xla():
    model = autoencoder()
    model.compile("sgd", "mse", jit_compile=True)
    x = normal(8, 7, 6, 2)
    np.testing.assert_allclose(model.predict(x, verbose=0), array(model(x)), rtol=1e-4, atol=1e-6)
    model.fit(x, verbose=0)


@pytest.mark.parametrize(
    ("padding", "output_size"), [("same", 6), ("same", 9), ("same", (8, 9)), ("valid", 8), ("valid", 11), ("valid", 2)]
)
def test_a_size_that_does_not_make_such_a_code_is_refused(padding, output_size):
    # A code of size 4 is that of an input of 7 or 8 with padding, and of 9 or 10 without.
    tied = TiedConvTranspose(built_conv(9, 9, 1, strides=2, padding=padding), output_size=output_size)
    with pytest.raises(ValueError, match="Give the size of the input that was encoded"):
        tied(np.ones((1, 4, 4, 4), "float32"))


def test_a_size_smaller_than_a_window_is_refused_whatever_arrives():
    tied = TiedConvTranspose(built_conv(9, 9, 1), output_size=2)
    with pytest.raises(ValueError, match=r"encodes to size \(0, 0\)"):
        tied.build((None, None, None, 4))


@pytest.mark.parametrize("output_size", [0, (7,), (7, 7, 7), (7, None), 7.0, "77"])
def test_other_things_than_sizes_are_refused(output_size):
    with pytest.raises(ValueError, match="a tuple of 2"):
        TiedConvTranspose(built_conv(9, 9, 1), output_size=output_size)


def test_an_unbuilt_layer_is_refused():
    with pytest.raises(ValueError, match="must be built"):
        TiedConvTranspose(keras.layers.Conv1D(4, 3))(np.ones((1, 5, 4), "float32"))


@pytest.mark.parametrize("shape", [(1, 4, 5), (1, 4, 4, 4)])
def test_codes_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="4 filters"):
        TiedConvTranspose(built_conv(9, 1))(np.ones(shape, "float32"))


def test_layers_of_the_other_kind_are_refused_by_either():
    with pytest.raises(TypeError, match="use a TiedDense"):
        TiedConvTranspose(keras.layers.Dense(4))
    with pytest.raises(TypeError, match="tied_to"):
        TiedConvTranspose(keras.layers.Conv2DTranspose(4, 3))
    with pytest.raises(ValueError, match="use a TiedConvTranspose"):
        TiedDense(built_conv(4, 1))(np.ones((1, 4), "float32"))
