import json
import shutil

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.layers import KSparse, Patches
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, SparseAutoencoder, SparseCodingAutoencoder
from keras_sae.presets import _replace
from keras_sae.presets._manifest import write_metadata
from keras_sae.regularizers import ActivityKL

CONVOLUTIONS = [
    {"tied": True},
    {"pooling": "max", "upsampling": "nearest"},
    {"strides": 1, "decoder_kernel_size": 3},
]
X = np.random.default_rng(0).uniform(size=(8, 12)).astype("float32")


@pytest.fixture
def saved(tmp_path):
    model = DenseAutoencoder(12, 6, sparsity=KSparse(2, alpha=2), tied=True)
    directory = tmp_path / "preset"
    model.save_to_preset(directory, metadata={"title": "A test"}, examples=X)
    return model, directory


def test_round_trip(saved):
    model, directory = saved
    again = SparseAutoencoder.from_preset(directory)
    assert type(again) is DenseAutoencoder
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert sorted(path.name for path in directory.iterdir()) == [
        "config.json",
        "metadata.json",
        "model.weights.h5",
        "reference.npz",
    ]


def test_a_preset_of_a_loaded_model_is_byte_equal(tmp_path):
    model = DenseAutoencoder(12, 6, sparsity=[KSparse(2), keras.regularizers.L1(0.1)])
    model.save(tmp_path / "model.keras")
    for name, each in (("made", model), ("loaded", keras.models.load_model(tmp_path / "model.keras"))):
        each.save_to_preset(tmp_path / name)
    for file in ("config.json", "model.weights.h5"):
        assert (tmp_path / "made" / file).read_bytes() == (tmp_path / "loaded" / file).read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_compressed_without_loss_for_keras_to_read(tmp_path, dtype):
    model = DenseAutoencoder(200, 300, sparsity=KSparse(2), dtype=keras.DTypePolicy(dtype))
    model.save_to_preset(tmp_path / "preset")
    model.save_weights(tmp_path / "plain.weights.h5")
    file = tmp_path / "preset" / "model.weights.h5"
    assert file.stat().st_size < 0.95 * (tmp_path / "plain.weights.h5").stat().st_size
    again = DenseAutoencoder.from_config(model.get_config())
    again.load_weights(file)
    for one, other in zip(again.weights, model.weights, strict=True):
        assert one.dtype == other.dtype in (dtype, "int32")
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))


def test_without_weights_the_model_is_fresh(saved):
    model, directory = saved
    again = DenseAutoencoder.from_preset(directory, load_weights=False)
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    assert (again.predict(X, verbose=0) != model.predict(X, verbose=0)).any()


def test_reference_holds_inputs_codes_and_reconstructions(saved):
    model, directory = saved
    reference = presets.load_reference(directory)
    np.testing.assert_array_equal(reference["inputs"], X)
    np.testing.assert_allclose(reference["codes"], model.encoder.predict(X, verbose=0), atol=1e-6)
    np.testing.assert_allclose(reference["reconstructions"], model.predict(X, verbose=0), atol=1e-6)


def test_loads_in_a_fresh_process(saved, in_fresh_process):
    _, directory = saved
    in_fresh_process(
        """
import sys, numpy as np
from keras_sae.models import SparseAutoencoder
stored = np.load(sys.argv[1] + "/reference.npz")
codes = SparseAutoencoder.from_preset(sys.argv[1]).encoder.predict(stored["inputs"], verbose=0)
np.testing.assert_allclose(codes, stored["codes"], atol=1e-6)
""",
        directory,
        forked=True,
    )


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5", "reference.npz"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("flip", [0x01, 0x20])
def test_one_flipped_byte_in_any_file_is_found_and_named(saved, name, where, flip):
    _, directory = saved
    content = bytearray((directory / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= flip
    (directory / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        SparseAutoencoder.from_preset(directory)


def test_every_byte_of_the_metadata_counts(saved):
    _, directory = saved
    path = directory / "metadata.json"
    original = path.read_bytes()
    for index in range(len(original)):
        content = bytearray(original)
        content[index] ^= 0x01
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"metadata\.json"):
            presets.read_metadata(directory)


def test_a_damaged_file_gets_expected_and_found(saved):
    _, directory = saved
    expected = presets.read_metadata(directory)["files"]["config.json"]
    (directory / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match=f"Expected SHA-256: {expected}. Found: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e83"
    ):
        SparseAutoencoder.from_preset(directory)


def test_a_missing_file_is_named(saved):
    _, directory = saved
    (directory / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match=r"model\.weights\.h5' is missing"):
        SparseAutoencoder.from_preset(directory)


def test_weights_of_another_model_of_the_same_shapes_are_refused(saved, tmp_path):
    _, directory = saved
    DenseAutoencoder(12, 6, sparsity=KSparse(2, alpha=2), tied=True).save_to_preset(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.weights.h5", directory)
    with pytest.raises(ValueError, match=r"model\.weights\.h5"):
        SparseAutoencoder.from_preset(directory)


def test_a_newer_format_asks_for_an_upgrade(saved, monkeypatch):
    _, directory = saved
    monkeypatch.setattr("keras_sae.presets._manifest.FORMAT", 99)
    write_metadata(directory, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"format 99.*Upgrade"):
        SparseAutoencoder.from_preset(directory)


def test_classes_that_nobody_registered_are_not_made(saved):
    _, directory = saved
    config = json.loads((directory / "config.json").read_text())
    config.update(class_name="system", module="os", registered_name="system")
    (directory / "config.json").write_text(json.dumps(config))
    write_metadata(directory, {})
    with pytest.raises(ValueError, match="Only classes of Keras and of keras_sae are allowed"):
        SparseAutoencoder.from_preset(directory)


def test_a_lambda_in_a_config_is_not_run(tmp_path):
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(6), keras.layers.Lambda(lambda x: 2 * x)])
    decoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(12)])
    SparseAutoencoder(encoder, decoder).save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match="cannot be built"):
        SparseAutoencoder.from_preset(tmp_path / "preset")


def test_unknown_names_get_near_matches():
    with pytest.raises(ValueError, match="Did you mean 'mnist_dense_ksparse'"):
        SparseAutoencoder.from_preset("mnist_dense_k_sparse")


def test_a_directory_that_is_no_preset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a preset"):
        SparseAutoencoder.from_preset(tmp_path)


def test_a_preset_of_another_class_is_refused(tmp_path):
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(6)])
    decoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(12)])
    SparseAutoencoder(encoder, decoder).save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match="not a DenseAutoencoder"):
        DenseAutoencoder.from_preset(tmp_path / "preset")


def test_saving_replaces_a_preset_and_nothing_else(saved, tmp_path):
    _, directory = saved
    DenseAutoencoder(12, 5).save_to_preset(directory)
    assert SparseAutoencoder.from_preset(directory).encoder.output_shape == (None, 5)
    assert not (directory / "reference.npz").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a preset"):
        DenseAutoencoder(12, 5).save_to_preset(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preset", "thesis"]  # no temporary directory is left


def test_a_save_that_fails_leaves_the_earlier_preset(saved, tmp_path):
    model, directory = saved
    with pytest.raises(TypeError):
        DenseAutoencoder(12, 5).save_to_preset(directory, metadata={"not JSON": object()})
    np.testing.assert_array_equal(SparseAutoencoder.from_preset(directory).predict(X, verbose=0), model.predict(X, verbose=0))
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_a_move_that_fails_puts_the_earlier_preset_back(saved, tmp_path, monkeypatch):
    import os

    model, directory = saved
    replace = os.replace

    def failing(source, target):
        if str(source).endswith("new"):
            raise OSError("No space left on device")
        replace(source, target)

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", failing)
        broken.setattr(_replace, "_exchange", lambda one, other: False)  # as where directories cannot be swapped
        with pytest.raises(OSError, match="No space"):
            DenseAutoencoder(12, 5).save_to_preset(directory)
    np.testing.assert_array_equal(SparseAutoencoder.from_preset(directory).predict(X, verbose=0), model.predict(X, verbose=0))
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_the_state_of_training_stays_out_of_a_preset(tmp_path):
    plain, trained = (DenseAutoencoder(12, 6, sparsity=ActivityKL(0.1)) for _ in range(2))
    trained.compile("adam", "mse")
    trained.fit(X, verbose=0)
    plain.set_weights(trained.get_weights())
    for name, model in (("plain", plain), ("trained", trained)):
        model.save_to_preset(tmp_path / name)
    sizes = {(tmp_path / name / "model.weights.h5").stat().st_size for name in ("plain", "trained")}
    assert len(sizes) == 1
    assert trained.optimizer is not None
    assert not SparseAutoencoder.from_preset(tmp_path / "trained").compiled


def test_shipped_presets_match_their_reference_and_their_metadata():
    assert {"mnist_dense_ksparse", "fashion_mnist_dense_kl"} <= set(presets.names())
    for name in presets.names():
        model = SparseAutoencoder.from_preset(name)
        reference = presets.load_reference(name)
        assert len(reference["inputs"]) in (2, 8)  # fewer where maps are large
        # Called, because `predict` would trace each of them.
        codes, features, reconstructions = (
            keras.ops.convert_to_numpy(part(reference["inputs"])) for part in (model.encoder, model.features, model)
        )
        np.testing.assert_allclose(codes, reference["codes"], rtol=1e-5, atol=1e-5)
        if model.features is not model.encoder:
            np.testing.assert_allclose(features, reference["features"], atol=1e-4)
        np.testing.assert_allclose(reconstructions, reference["reconstructions"], atol=1e-5)
        # Better than the mean of these inputs, or of all patches, the best constant guess there is.
        target = keras.ops.convert_to_numpy(model.target_of(reference["inputs"]))
        patches = any(isinstance(layer, Patches) for layer in model.encoder.layers)
        over = tuple(range(target.ndim - 1)) if patches else 0
        errors = [np.mean((guess - target) ** 2) for guess in (reconstructions, target.mean(axis=over))]
        assert errors[0] < errors[1], name
        metadata = presets.read_metadata(presets.find(name))
        assert metadata["name"] == name
        assert metadata["recipe"]["data"]["licence"]


def test_mnist_dense_ksparse_gives_1000_units_of_which_75_fire():
    codes = SparseAutoencoder.from_preset("mnist_dense_ksparse").encoder(np.random.default_rng(0).uniform(size=(5, 28, 28, 1)))
    assert codes.shape == (5, 1000)
    assert (np.count_nonzero(keras.ops.convert_to_numpy(codes), axis=-1) <= 75).all()


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_models_do_not_depend_on_the_image_data_format_of_keras(layout):
    """Models are made, not called, where the global setting says otherwise; so their layers must say channels last."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(layout)
    try:
        x = np.random.default_rng(0).uniform(size=(2, 4, 6, 3)).astype("float32")
        models = [
            DenseAutoencoder((4, 6, 3), 5),
            SparseCodingAutoencoder((4, 6, 3), 5, keras.regularizers.L1(0.01), steps=2),
            *(ConvolutionalAutoencoder((4, 6, 3), 5, **options) for options in CONVOLUTIONS),
        ]
        for model in models:
            for part in (model.encoder, model.decoder):
                for layer in part.layers:
                    assert getattr(layer, "data_format", "channels_last") == "channels_last", layer
            assert model(x).shape == x.shape
        kernel = keras.ops.convert_to_numpy(models[0].encoder.get_layer("encode").kernel)
        codes = keras.ops.convert_to_numpy(models[0].encoder(x))
        np.testing.assert_allclose(codes, np.maximum(x.reshape(2, -1) @ kernel, 0), atol=1e-5)
    finally:
        keras.config.set_image_data_format(before)
