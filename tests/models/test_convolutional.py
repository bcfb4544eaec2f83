import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import BatchKSparse, KSparse, MaskingNoise, WinnerTakeAll
from keras_sae.models import ConvolutionalAutoencoder, SparseAutoencoder
from keras_sae.regularizers import ActivityKL, GroupL21


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def inputs(shape, count=4, seed=0):
    return np.random.default_rng(seed).uniform(size=(count, *shape)).astype("float32")


CONFIGURATIONS = {
    "strides": {},
    "odd strides": {"strides": 3},
    "strides above the kernel": {"strides": [4, 1], "kernel_size": 2},
    "max pooling": {"pooling": "max"},
    "average pooling, nearest": {"pooling": "average", "upsampling": "nearest"},
    "nearest": {"upsampling": "nearest", "strides": 3},
    "tied": {"tied": True},
    "linear decoder": {"decoder_kernel_size": 5},
    "no reduction": {"strides": 1},
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
@pytest.mark.parametrize("shape", [(7, 2), (9, 1), (5, 8, 1), (7, 11, 3), (3, 5, 4, 2)], ids=str)
def test_the_reconstruction_has_the_size_of_the_input(shape, configuration):
    model = ConvolutionalAutoencoder(shape, [3, 4], **configuration)
    x = inputs(shape)
    assert model.output_shape == (None, *shape)
    assert as_numpy(model(x)).shape == x.shape
    np.testing.assert_allclose(as_numpy(model(x)), as_numpy(model.decoder(model.encoder(x))), rtol=1e-5, atol=1e-6)
    strides = configuration.get("strides", 2)
    code = shape[:-1]
    for stride in strides if isinstance(strides, list) else [strides, strides]:
        code = [-(-size // stride) for size in code]
    assert model.encoder.output_shape == (None, *code, 4)


def test_sizes_may_be_unknown_where_nothing_is_rounded():
    model = ConvolutionalAutoencoder((None, None, 1), [3, 4], KSparse(2), strides=1, tied=True)
    for size in ((5, 8), (3, 3)):
        assert as_numpy(model(inputs((*size, 1)))).shape == (4, *size, 1)


def test_by_hand():
    model = ConvolutionalAutoencoder((3, 1), 1, kernel_size=1, strides=2, activation="relu")
    weights = [[[[2.0]]], [1.0], [[[3.0]]], [-1.0]]
    model.set_weights([np.array(weight, "float32") for weight in weights])
    x = np.array([[[1.0], [5.0], [-2.0]]], "float32")
    # Every second position, without padding for a kernel of 1: relu(2 * (1, -2) + 1) = (3, 0); between them the bias.
    np.testing.assert_allclose(as_numpy(model.encoder(x))[0, :, 0], [3, 0])
    np.testing.assert_allclose(as_numpy(model(x))[0, :, 0], [8, -1, -1])


def test_winner_take_all_of_the_paper_is_a_configuration():
    model = ConvolutionalAutoencoder(
        (8, 9, 1),
        [5, 6],
        WinnerTakeAll(spatial=True, lifetime=0.25),
        kernel_size=3,
        strides=1,
        decoder_kernel_size=5,
        center=False,
    )
    assert [layer.name for layer in model.decoder.layers] == ["codes", "decode"]
    assert model.decoder.get_layer("decode").activation is keras.activations.linear
    assert model.decoder.get_layer("decode").kernel_size == (5, 5)
    x = inputs((8, 9, 1), 16)
    code = as_numpy(model.encoder(x, training=True))
    winners = (code != 0).sum(axis=(1, 2))  # (batch, units)
    assert winners.max() == 1
    assert (winners.sum(axis=0) <= 4).all()
    taps = keras.Model(model.encoder.inputs[0], model.encoder.get_layer("encode").output)
    assert ((as_numpy(taps(x)) > 0).sum(axis=(1, 2)) > 1).any()


@pytest.mark.parametrize(
    ("sparsity", "count"),
    [(KSparse(2), 2 * 4 * 4), (KSparse(3, across="positions"), 3 * 6), (KSparse(7, across="all"), 7), (BatchKSparse(5), None)],
)
def test_spatial_and_channel_selections(sparsity, count):
    model = ConvolutionalAutoencoder((8, 8, 1), [5, 6], sparsity, strides=[1, 2])
    code = as_numpy(model.encoder(inputs((8, 8, 1)), training=True))
    counts = (code != 0).reshape(4, -1).sum(axis=1)
    assert (counts == count).all() if count else counts.sum() == 4 * 5


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("upsampling", ["transpose", "nearest"])
def test_unit_norm_holds_the_atoms(tied, upsampling):
    if tied and upsampling == "nearest":
        pytest.skip("refused")
    model = ConvolutionalAutoencoder((8, 8, 2), [5, 6], unit_norm=True, tied=tied, upsampling=upsampling)
    model.compile("sgd", "mse")
    for _ in range(2):
        for name in ("decode", "decode_1"):
            decode = model.decoder.get_layer(name)
            kernel = as_numpy((decode.tied_to if tied else decode).kernel)
            unit_axis = 2 if upsampling == "nearest" else 3
            rows = np.moveaxis(kernel, unit_axis, 0).reshape(kernel.shape[unit_axis], -1)
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        model.fit(inputs((8, 8, 2)), verbose=0)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "arguments",
    [
        {"sparsity": {"level_1": [KSparse(2), keras.regularizers.L1(0.1)], "code": WinnerTakeAll(spatial=True)}},
        {"sparsity": [ActivityKL(0.1)], "pooling": "max", "upsampling": "nearest", "output_activation": "sigmoid"},
        {"sparsity": KSparse(2), "tied": True, "unit_norm": True, "corruption": MaskingNoise(0.3)},
        {"sparsity": GroupL21(0.1), "decoder_kernel_size": 4, "hidden_activation": "tanh"},
        {"kernel_size": [3, 5], "strides": [1, 2], "hidden_activation": ["elu"]},
    ],
)
def test_files_and_configs_bring_it_back(arguments, tmp_path):
    shape = (7, 5, 2)
    model = ConvolutionalAutoencoder(shape, [4, 6], **arguments)
    model.compile("adam", "mse")
    x, labels = inputs(shape, 12), None
    if model.penalties and model.objective.supervised:
        labels = np.arange(12) % 3
    model.fit(x, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_allclose(as_numpy(again(x)), as_numpy(model(x)), rtol=1e-5, atol=1e-6)
    again.fit(x, labels, verbose=0)
    model.save_to_preset(tmp_path / "preset")
    preset = SparseAutoencoder.from_preset(tmp_path / "preset")
    assert isinstance(preset, ConvolutionalAutoencoder)
    np.testing.assert_allclose(as_numpy(preset.encoder(x)), as_numpy(model.encoder(x)), rtol=1e-5, atol=1e-6)


def test_it_learns_to_reconstruct():
    keras.utils.set_random_seed(0)
    # Each image is a bar of random place: few winners tell which.
    places = np.random.default_rng(0).integers(0, 12, 256)
    x = np.zeros((256, 12, 8, 1), "float32")
    x[np.arange(256), places] = 1
    model = ConvolutionalAutoencoder(
        (12, 8, 1), [8], KSparse(2, across="all"), kernel_size=9, strides=1, output_activation="sigmoid"
    )
    model.compile(keras.optimizers.Adam(0.02), "mse")
    losses = model.fit(x, epochs=15, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.05 < losses[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": []}, "`filters`"),
        ({"filters": [4, 0]}, "`filters`"),
        ({"filters": 2.5}, "`filters`"),
        ({"kernel_size": [3]}, "each of the 2"),
        ({"strides": 0}, "`strides`"),
        ({"decoder_kernel_size": -1}, "`decoder_kernel_size`"),
        ({"pooling": "min"}, "'max' or 'average'"),
        ({"upsampling": "bilinear"}, "'transpose' or 'nearest'"),
        ({"upsampling": "nearest", "decoder_kernel_size": 3}, "one transposed convolution"),
        ({"tied": True, "pooling": "max"}, "transpose of the encoder"),
        ({"hidden_activation": ["relu", "relu"]}, "hidden_activation"),
        ({"input_shape": (8,)}, "channels last"),
        ({"input_shape": (8, 8, None)}, "channels last"),
        ({"input_shape": (8, 8, 8, 8, 1)}, "channels last"),
        ({"input_shape": (None, 8, 1)}, "round sizes up"),
        ({"sparsity": {"level_2": KSparse(2)}}, "level_1, code"),
        ({"sparsity": KSparse(7)}, "k=7"),
        ({"sparsity": ActivityKL(), "activation": "relu"}, "undefined"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionalAutoencoder(**{"input_shape": (8, 8, 1), "filters": [4, 6], **arguments})
