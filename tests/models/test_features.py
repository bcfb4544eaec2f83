"""`features`, what classifiers read, and `preprocessing`, what the encoder begins with."""

import copy

import keras
import numpy as np
import pytest

from keras_sae.layers import (
    BothSigns,
    ContrastNormalization,
    GridPooling,
    KSparse,
    MirrorAverage,
    Patches,
    RotationAverage,
    SoftKSparse,
    SoftThreshold,
    Standardize,
    WinnerTakeAll,
    ZCAWhitening,
)
from keras_sae.models import ConvolutionalAutoencoder, DeepAutoencoder, DenseAutoencoder, SparseAutoencoder, StackedAutoencoder

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(size=(20, 7, 6, 3)).astype("float32")
PATCHES = IMAGES[:, 1:4, 2:5]
OFFSET = 10 / 255**2


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def of_patches(**arguments):
    """A convolutional k-sparse encoder over whitened patches."""
    keras.utils.set_random_seed(0)
    return ConvolutionalAutoencoder(
        (None, None, 3),
        10,
        KSparse(2),
        kernel_size=1,
        strides=1,
        tied=True,
        preprocessing=[Patches(3), ContrastNormalization(), ZCAWhitening(0.01)],
        features={
            "encode": [
                SoftThreshold(0.1),
                BothSigns(),
                GridPooling(2, "sum"),
                keras.layers.Flatten("channels_last"),
                Standardize(),
            ]
        },
        **arguments,
    )


@pytest.fixture(scope="module")
def model():
    model = of_patches()
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(PATCHES, batch_size=10, verbose=0)
    model.adapt_features(IMAGES)
    return model


def features_by_hand(model, images):
    """Features of a model `of_patches`: every patch by itself, in float64."""

    def normalised(patches):
        flat = patches.reshape(*patches.shape[:-3], -1).astype("float64")
        return (flat - flat.mean(-1, keepdims=True)) / np.sqrt(flat.var(-1, keepdims=True) + OFFSET)

    seen = normalised(PATCHES)
    variances, axes = np.linalg.eigh(np.cov(seen.T, bias=True))
    matrix = axes / np.sqrt(variances.clip(0) + 0.01) @ axes.T
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))  # (n, 5, 4, channels, 3, 3)
    white = (normalised(np.moveaxis(windows, 3, -1)) - seen.mean(axis=0)) @ matrix
    encode = model.encoder.get_layer("encode")
    responses = white @ as_numpy(encode.kernel)[0, 0] + as_numpy(encode.bias)
    responses = np.sign(responses) * np.maximum(np.abs(responses) - 0.1, 0)
    both = np.concatenate([np.maximum(responses, 0), np.maximum(-responses, 0)], axis=-1)
    cells = [both[:, row, column].sum(axis=(1, 2)) for row in np.s_[:2, 2:] for column in np.s_[:2, 2:]]
    flat = np.concatenate(cells, axis=-1)
    deviation = flat.std(axis=0)
    return white, (flat - flat.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1)


def test_the_convolutional_form_equals_each_patch_by_itself(model):
    white, expected = features_by_hand(model, IMAGES)
    np.testing.assert_allclose(as_numpy(model.preprocessing(IMAGES)), white, atol=1e-4)
    np.testing.assert_allclose(as_numpy(model.features(IMAGES)), expected, atol=1e-3)


def test_a_mirror_average_is_that_of_an_image_and_its_mirror_image(model, tmp_path):
    plain = model.with_features({"encode": [BothSigns(), GridPooling(2)]})
    mirrored = model.with_features({"encode": [BothSigns(), GridPooling(2), MirrorAverage(), Standardize()]})
    mirrored.adapt_features(IMAGES)
    both = (as_numpy(plain.features(IMAGES)) + as_numpy(plain.features(IMAGES[:, :, ::-1]))) / 2
    expected = (both - both.mean(axis=0)) / both.std(axis=0)
    np.testing.assert_allclose(as_numpy(mirrored.features(IMAGES)), expected, atol=1e-3)
    np.testing.assert_allclose(as_numpy(mirrored.features(IMAGES[:, :, ::-1])), expected, atol=1e-3)
    mirrored.save_to_preset(tmp_path / "preset")
    again = SparseAutoencoder.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(again.features.predict(IMAGES, verbose=0), expected, atol=1e-3)
    assert len(mirrored.weights) == len(plain.weights) + 2  # mean and deviation of the features
    with pytest.raises(ValueError, match="inputs of the model must be images"):
        DenseAutoencoder(6, 8, features=MirrorAverage())


def test_a_rotation_average_is_that_of_an_image_and_of_turned_images(model, tmp_path):
    plain = model.with_features({"encode": [BothSigns(), GridPooling(2)]})
    turned = model.with_features({"encode": [BothSigns(), GridPooling(2), RotationAverage([180, 360]), Standardize()]})
    turned.adapt_features(IMAGES)
    features = as_numpy(plain.features(IMAGES))
    mean = (2 * features + as_numpy(plain.features(IMAGES[:, ::-1, ::-1]))) / 3
    expected = (mean - mean.mean(axis=0)) / mean.std(axis=0)
    np.testing.assert_allclose(as_numpy(turned.features(IMAGES)), expected, atol=2e-3)
    turned.save_to_preset(tmp_path / "preset")
    again = SparseAutoencoder.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(again.features.predict(IMAGES, verbose=0), expected, atol=2e-3)


def test_images_turn_counterclockwise_by_linear_interpolation():
    y, x = np.mgrid[:9, :11].astype("float32")
    (view,) = RotationAverage([20]).views((3 * x - y)[None, :, :, None])
    cos, sin = np.cos(np.pi / 9), np.sin(np.pi / 9)
    from_y, from_x = 4 + sin * (x - 5) + cos * (y - 4), 5 + cos * (x - 5) - sin * (y - 4)
    inside = (from_y >= 0) & (from_y <= 8) & (from_x >= 0) & (from_x <= 10)
    assert inside.sum() == 75  # corners turn out of the image
    np.testing.assert_allclose(as_numpy(view)[0, :, :, 0][inside], (3 * from_x - from_y)[inside], atol=1e-4)
    outside = (from_y < -1) | (from_y > 9) | (from_x < -1) | (from_x > 11)
    assert outside.any()
    assert (as_numpy(view)[0, :, :, 0][outside] == 0).all()


def test_one_model_reads_images_of_any_size(model):
    assert model.features.output_shape == (None, 80)
    for size in ((48, 40), (9, 12)):
        images = RANDOM.uniform(size=(2, *size, 3)).astype("float32")
        features = model.features.predict(images, verbose=0)
        assert features.shape == (2, 80)
        assert np.isfinite(features).all()
        np.testing.assert_allclose(model.features.predict(images[:1], verbose=0), features[:1], atol=1e-5)
    assert model.encoder(IMAGES).shape == (20, 5, 4, 10)


def test_images_that_no_patch_fits_into_are_refused(model):
    with pytest.raises(ValueError, match="not smaller than a patch"):
        model.features(np.zeros((1, 2, 9, 3), "float32"))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        model.features(np.zeros((1, 9, 9, 1), "float32"))


def test_a_convolutional_model_is_copied_for_inputs_of_another_size():
    features = {"encode": GridPooling(2, "max")}
    model = ConvolutionalAutoencoder((8, 8, 3), 4, WinnerTakeAll(spatial=True), features=features)
    model.adapt(IMAGES[:, :6, :6].repeat(2, axis=1)[:, :8].repeat(2, axis=2)[:, :, :8])
    larger = model.for_inputs((16, 12, 3))
    image = RANDOM.uniform(size=(1, 16, 12, 3)).astype("float32")
    assert larger(image).shape == image.shape
    part = model.encoder.get_layer("encode")(model.encoder.get_layer("subtract_mean")(image))
    np.testing.assert_allclose(as_numpy(larger.features(image)), as_numpy(GridPooling(2, "max")(part)), atol=1e-5)
    with pytest.raises(ValueError, match="cannot be copied"):
        model.with_features([Standardize()]).for_inputs((16, 12, 3))


def test_an_autoencoder_reconstructs_what_preprocessing_gives(model):
    assert model.evaluate(IMAGES, verbose=0)[0] == pytest.approx(
        np.square(as_numpy(model(IMAGES)) - as_numpy(model.preprocessing(IMAGES))).mean(), rel=1e-4
    )


def test_features_survive_files_copies_and_configs(model, tmp_path):
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    expected = as_numpy(model.features(IMAGES))
    for other in (
        again,
        keras.models.load_model(tmp_path / "model.keras"),
        SparseAutoencoder.from_preset(tmp_path / "preset"),
        copy.deepcopy(model),
    ):
        np.testing.assert_allclose(as_numpy(other.features(IMAGES)), expected, atol=1e-6)
        assert other.get_config().keys() == model.get_config().keys()


@pytest.mark.parametrize("make", [DenseAutoencoder, StackedAutoencoder, DeepAutoencoder])
def test_dense_models_read_preprocessed_vectors(make):
    levels = {"hidden_units": [7], "code_units": 8} if make is DeepAutoencoder else {"code_units": 8}
    model = make(PATCHES.shape[1:], sparsity=KSparse(2), preprocessing=[ContrastNormalization(), ZCAWhitening()], **levels)
    assert model.output_shape == (None, 3, 3, 3)
    assert not model.centers
    model.adapt(PATCHES)
    flat = PATCHES.reshape(20, -1)
    flat = (flat - flat.mean(-1, keepdims=True)) / np.sqrt(flat.var(-1, keepdims=True) + OFFSET)
    variances, axes = np.linalg.eigh(np.cov(flat.T.astype("float64"), bias=True))
    white = (flat - flat.mean(axis=0)) @ (axes / np.sqrt(variances.clip(0) + 0.1) @ axes.T)
    np.testing.assert_allclose(as_numpy(model.preprocessing(PATCHES)).reshape(20, -1), white, atol=1e-4)
    model.compile("sgd", "mse", run_eagerly=True)
    if make is StackedAutoencoder:
        history = model.pretrain(PATCHES, batch_size=20, verbose=0)["code"].history["reconstruction_loss"][0]
        assert history < 2 * np.square(white).mean()  # it reconstructs what is white, not pixels
    assert make.from_config(model.get_config()).get_config() == model.get_config()


def test_features_read_the_encoder_unless_something_is_set():
    model = DenseAutoencoder(6, 8, KSparse(2))
    assert model.features is model.encoder
    assert "features" not in model.get_config()
    assert "preprocessing" not in model.get_config()
    assert model.preprocessing is None


def test_features_of_several_layers_are_concatenated_in_the_order_of_the_encoder():
    features = {"code": [], "level_1": [keras.layers.ReLU()]}
    model = DeepAutoencoder(6, [5], 4, KSparse(2), features=features)
    x = RANDOM.normal(size=(3, 6)).astype("float32")
    first = as_numpy(keras.Model(model.encoder.inputs[0], model.encoder.get_layer("level_1").output)(x))
    expected = np.concatenate([np.maximum(first, 0), as_numpy(model.encoder(x))], axis=1)
    np.testing.assert_allclose(as_numpy(model.features(x)), expected, atol=1e-6)


def test_with_features_keeps_the_weights():
    model = DenseAutoencoder(6, 8, KSparse(2), center=True, features=Standardize())
    model.adapt(RANDOM.normal(size=(9, 6)) + 1)
    x = RANDOM.normal(size=(3, 6)).astype("float32")
    other = model.with_features({"encode": SoftKSparse(3)})
    np.testing.assert_array_equal(as_numpy(other(x)), as_numpy(model(x)))
    encode = keras.Model(model.encoder.inputs[0], model.encoder.get_layer("encode").output)
    np.testing.assert_allclose(as_numpy(other.features(x)), as_numpy(SoftKSparse(3)(encode(x))), atol=1e-6)
    assert other.with_features(None).features is not other.encoder


def test_layers_of_features_are_frozen_with_the_model_and_stay_so():
    model = DenseAutoencoder(6, 8, KSparse(2), features=keras.layers.Dense(3, name="head"))
    model._feature_layers[0].trainable = False
    again = DenseAutoencoder.from_config(model.get_config())
    assert [weight.trainable for weight in again._feature_layers[0].weights] == [False, False]
    assert again.encoder.trainable_weights


def test_fit_learns_in_the_order_of_the_layers_and_once():
    model = DenseAutoencoder(6, 8, KSparse(2), preprocessing=[Standardize(), ZCAWhitening(0.01)], center=True)
    model.compile("sgd", "mse", run_eagerly=True)
    x = (RANDOM.normal(size=(40, 6)) * 5 + 3).astype("float32")
    model.fit(((x[i : i + 10],) for i in range(0, 40, 10)), verbose=0, steps_per_epoch=4)
    first = [as_numpy(weight) for weight in model.encoder.weights if weight.name in ("mean", "deviation", "matrix")]
    np.testing.assert_allclose(first[0], x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(np.cov(as_numpy(model.preprocessing(x)).T, bias=True), np.eye(6), atol=0.1)
    model.fit(x + 1, verbose=0)
    second = [as_numpy(weight) for weight in model.encoder.weights if weight.name in ("mean", "deviation", "matrix")]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_read_is_refused():
    for features, error, match in (
        ({"encoded": KSparse(1)}, ValueError, "Did you mean 'encode'"),
        ({"encode": [], "inputs": []}, ValueError, "layers are"),
        ("relu", TypeError, "`features` lists layers"),
        ([KSparse], TypeError, "`features` lists layers"),
    ):
        with pytest.raises(error, match=match):
            DenseAutoencoder(6, 8, features=features)
    with pytest.raises(TypeError, match="`preprocessing` lists layers"):
        DenseAutoencoder(6, 8, preprocessing="zca")
    with pytest.raises(ValueError, match="channels last"):
        ConvolutionalAutoencoder((8, 8, 1), 4, features=keras.layers.Flatten("channels_first"))
    with pytest.raises(ValueError, match="must agree"):
        ConvolutionalAutoencoder((8, 8, 1), [4, 4], features={"level_1": [], "code": []})
    with pytest.raises(ValueError, match="number of axes"):
        ConvolutionalAutoencoder((8, 8, 1), 4, preprocessing=keras.layers.Flatten("channels_last"))
