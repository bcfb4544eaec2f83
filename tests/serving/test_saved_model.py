import json
import os
import sys
import threading

import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, SparseAutoencoder
from keras_sae.serving import export, read_description
from keras_sae.serving._versions import versions_in

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")

PLAIN = {"serving_default", "encode", "encode_top_k", "decode", "reconstruct", "anomaly_score"}
READ_INPUTS = ("encode", "encode_top_k", "reconstruct", "anomaly_score")

LOAD = """
import sys
sys.modules["keras"] = sys.modules["keras_sae"] = None   # as on a server: neither can be imported
import numpy as np, tensorflow as tf
stored = np.load(sys.argv[2])
endpoints = tf.saved_model.load(sys.argv[1]).signatures
inputs, codes, reconstructions = (tf.constant(stored[name]) for name in ("inputs", "codes", "reconstructions"))
for count in (0, 1, 3, len(inputs)):
    for name, given, output, expected in (
        ("serving_default", {"inputs": inputs}, "codes", codes),
        ("encode", {"inputs": inputs}, "codes", codes),
        ("decode", {"codes": codes}, "reconstructions", reconstructions),
        ("reconstruct", {"inputs": inputs}, "reconstructions", reconstructions),
    ):
        result = endpoints[name](**{key: value[:count] for key, value in given.items()})
        assert list(result) == [output]
        np.testing.assert_allclose(result[output], expected[:count], atol=1e-5)
"""


def load(path):
    import tensorflow as tf

    return tf.saved_model.load(str(path)).signatures


def arrays(outputs):
    return {name: value.numpy() for name, value in outputs.items()}


def test_endpoints_give_the_models_values_where_keras_cannot_be_imported(tmp_path, in_fresh_process):
    model = DenseAutoencoder((5, 4, 1), 9, sparsity=KSparse(3, alpha=2))
    inputs = np.random.default_rng(0).uniform(size=(7, 5, 4, 1)).astype("float32")
    path = export(model, tmp_path / "served")
    assert set(load(path)) == PLAIN
    codes = model.encoder(inputs, training=False)
    np.savez(tmp_path / "io.npz", inputs=inputs, codes=codes, reconstructions=model.decoder(codes))
    in_fresh_process(LOAD, path, tmp_path / "io.npz")


def test_the_strongest_entries_and_the_error_of_each_sample(model, exported):
    inputs = np.random.default_rng(1).uniform(size=(5, 6, 5, 1)).astype("float32")
    endpoints = load(exported / "1")
    codes = np.asarray(model.encoder(inputs))
    strongest = arrays(endpoints["encode_top_k"](inputs=inputs))
    assert strongest["indices"].dtype == np.int32
    # As many as are active, so that the code can be put together again.
    assert strongest["indices"].shape == (5, 6)
    assert (np.diff(np.abs(strongest["values"])) <= 0).all()
    again = np.zeros_like(codes)
    np.put_along_axis(again, strongest["indices"].astype(int), strongest["values"], 1)
    np.testing.assert_allclose(again, codes, atol=1e-6)
    scores = arrays(endpoints["anomaly_score"](inputs=inputs))["scores"]
    np.testing.assert_allclose(scores, [np.mean((x - np.asarray(model(x[None]))[0]) ** 2) for x in inputs], rtol=1e-5)


def test_images_are_rescaled_in_the_graph_and_decoded_from_png_and_jpeg(exported):
    import tensorflow as tf

    endpoints = load(exported / "1")
    assert set(endpoints) == PLAIN | {f"{name}_{kind}" for name in READ_INPUTS for kind in ("images", "image_bytes")}
    images = np.random.default_rng(2).integers(0, 256, (3, 6, 5, 1)).astype("uint8")
    png = [tf.io.encode_png(image).numpy() for image in images]
    jpeg = [tf.io.encode_jpeg(image).numpy() for image in images]
    for name in READ_INPUTS:
        expected = arrays(endpoints[name](inputs=images.astype("float32") / 255))
        of_images = arrays(endpoints[f"{name}_images"](images=images))
        of_bytes = arrays(endpoints[f"{name}_image_bytes"](image_bytes=tf.constant(png)))
        lossy = arrays(endpoints[f"{name}_images"](images=np.stack([tf.io.decode_jpeg(data).numpy() for data in jpeg])))
        of_jpeg = arrays(endpoints[f"{name}_image_bytes"](image_bytes=tf.constant(jpeg)))
        for key, value in expected.items():
            np.testing.assert_allclose(of_images[key], value, atol=1e-6)
            np.testing.assert_allclose(of_bytes[key], value, atol=1e-6)
            np.testing.assert_allclose(of_jpeg[key], lossy[key], atol=1e-6)


def test_codes_of_maps_are_flattened_for_the_strongest(tmp_path):
    model = ConvolutionalAutoencoder((8, 6, 1), [3], sparsity=KSparse(1), strides=2)
    path = export(model, tmp_path / "maps")
    inputs = np.random.default_rng(0).uniform(size=(2, 8, 6, 1)).astype("float32")
    codes = np.asarray(model.encoder(inputs))
    strongest = arrays(load(path)["encode_top_k"](inputs=inputs))
    assert strongest["indices"].shape == (2, 4 * 3)  # one unit at each of 4 × 3 positions
    np.testing.assert_allclose(
        np.take_along_axis(codes.reshape(2, -1), strongest["indices"], 1), strongest["values"], atol=1e-6
    )
    assert read_description(path)["endpoints"]["encode"]["outputs"]["codes"]["shape"] == [None, 4, 3, 3]


def test_maps_of_any_size_are_served(tmp_path):
    model = ConvolutionalAutoencoder((None, None, 1), [3], strides=1)
    endpoints = load(export(model, tmp_path / "maps", image_inputs=True))
    for size in (8, 12):
        inputs = np.random.default_rng(0).uniform(size=(2, size, size, 1)).astype("float32")
        np.testing.assert_allclose(endpoints["encode"](inputs=inputs)["codes"], model.encoder(inputs), atol=1e-5)
        # Of 3 units, which is all of the narrowest code there can be.
        assert endpoints["encode_top_k"](inputs=inputs)["values"].shape == (2, 3)


@pytest.mark.parametrize(
    ("top_k", "width"), [(0, 9), (10, 9), (2.5, 9), (True, 9), ("all", 9)], ids=["none", "more", "float", "bool", "word"]
)
def test_top_k_lies_within_the_code(top_k, width, tmp_path):
    with pytest.raises(
        ValueError, match=rf"whose width is {width} here, .*at least 1 and at most {width}\. Received: top_k={top_k!r}"
    ):
        export(DenseAutoencoder(12, width), tmp_path / "served", top_k=top_k)
    assert not (tmp_path / "served").exists()


def test_weights_in_bfloat16_take_half_the_size_and_the_error_is_told(tmp_path):
    model = DenseAutoencoder(100, 80, sparsity=KSparse(5), tied=True)
    inputs = np.random.default_rng(0).uniform(size=(6, 100)).astype("float32")
    whole = export(model, tmp_path / "served", examples=inputs)
    half = export(model, tmp_path / "served", examples=inputs, weights="bfloat16")
    sizes = [(path / "variables" / "variables.data-00000-of-00001").stat().st_size for path in (whole, half)]
    # Each weight once; the rest is the list of them.
    assert 0 <= sizes[0] - 4 * (100 * 80 + 80 + 100) < 1000
    assert 0 <= sizes[1] - 2 * (100 * 80 + 80 + 100) < 1000
    assert read_description(whole)["difference"]["codes"]["maximum"] < 1e-5
    told = read_description(half)["difference"]["reconstructions"]
    difference = np.asarray(load(half)["reconstruct"](inputs=inputs)["reconstructions"]) - np.asarray(model(inputs))
    np.testing.assert_allclose(told["maximum"], np.abs(difference).max(), rtol=1e-3)
    np.testing.assert_allclose(told["relative"], np.linalg.norm(difference) / np.linalg.norm(model(inputs)), rtol=1e-3)
    assert 1e-5 < told["relative"] < 0.1
    # The model itself is as it was.
    np.testing.assert_allclose(load(whole)["encode"](inputs=inputs)["codes"], model.encoder(inputs), atol=1e-6)


def test_half_precision_models_are_served_in_float32(tmp_path):
    model = DenseAutoencoder(12, 9, sparsity=KSparse(3), dtype="mixed_bfloat16")
    described = read_description(export(model, tmp_path / "served"))["endpoints"]
    dtypes = {spec["dtype"] for table in described.values() for kind in table.values() for spec in kind.values()}
    assert dtypes == {"float32", "int32"}


def test_bad_requests_fail_and_an_empty_batch_is_none(exported):
    import tensorflow as tf

    endpoints = load(exported / "1")
    error = tf.errors.InvalidArgumentError
    # As many numbers as 8 samples have: a reshape would take them for those.
    with pytest.raises(error, match=r"\[4,2,30,1\] is not compatible with expected shape \[\?,6,5,1\]"):
        endpoints["encode"](inputs=tf.zeros((4, 2, 30, 1)))
    with pytest.raises(error, match="expected to be a float tensor but is a double tensor"):
        endpoints["encode"](inputs=tf.zeros((1, 6, 5, 1), tf.float64))
    with pytest.raises(error, match="Unknown image file format"):
        endpoints["encode_image_bytes"](image_bytes=tf.constant([b"no image"]))
    with pytest.raises(error, match=r"\[7,5,1\] is not compatible with expected shape \[6,5,1\]"):
        endpoints["encode_image_bytes"](image_bytes=tf.constant([tf.io.encode_png(np.zeros((7, 5, 1), "uint8")).numpy()]))
    with pytest.raises(KeyError):
        endpoints["embed"]
    for name, empty in (
        *((name, {"inputs": tf.zeros((0, 6, 5, 1))}) for name in READ_INPUTS),
        *((f"{name}_images", {"images": tf.zeros((0, 6, 5, 1), tf.uint8)}) for name in READ_INPUTS),
        *((f"{name}_image_bytes", {"image_bytes": tf.constant([], tf.string)}) for name in READ_INPUTS),
        ("decode", {"codes": tf.zeros((0, 12))}),
    ):
        for value in endpoints[name](**empty).values():
            assert value.shape[0] == 0


def test_a_nan_stays_in_its_sample_and_shows(exported):
    endpoints = load(exported / "1")
    inputs = np.random.default_rng(0).uniform(size=(3, 6, 5, 1)).astype("float32")
    whole = {name: arrays(endpoints[name](inputs=inputs)) for name in READ_INPUTS}
    inputs[1, 2, 2] = np.nan
    for name in READ_INPUTS:
        for key, value in arrays(endpoints[name](inputs=inputs)).items():
            np.testing.assert_allclose(value[[0, 2]], whole[name][key][[0, 2]], atol=1e-6)
            assert np.isnan(value[1]).any() or key == "indices"


def test_a_version_is_never_overwritten_and_the_next_free_one_is_one_more_than_the_highest(tmp_path):
    model = DenseAutoencoder(12, 9)
    assert export(model, tmp_path / "served", version=3) == tmp_path / "served" / "3"
    before = (tmp_path / "served" / "3" / "saved_model.pb").read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        export(model, tmp_path / "served", version=3)
    assert export(model, tmp_path / "served") == tmp_path / "served" / "4"
    assert (tmp_path / "served" / "3" / "saved_model.pb").read_bytes() == before
    folders = sorted(path.name for path in (tmp_path / "served").iterdir() if path.is_dir())
    assert folders == ["3", "4"]
    assert export(model, tmp_path / "new").name == "1"


def test_exports_at_once_take_a_version_each(tmp_path, monkeypatch):
    model = DenseAutoencoder(12, 9)
    export(model, tmp_path / "served")
    versions = sys.modules["keras_sae.serving._versions"]
    all_written, rename = threading.Barrier(3), os.rename

    def together(source, target):  # each has chosen its number before any moves
        if not getattr(turn, "past", False):
            turn.past = True
            all_written.wait(timeout=120)
        rename(source, target)

    turn = threading.local()
    monkeypatch.setattr(versions.os, "rename", together)
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(export(model, tmp_path / "served"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == ["2", "3", "4"]
    assert versions_in(tmp_path / "served") == [1, 2, 3, 4]
    assert not [path for path in (tmp_path / "served").iterdir() if path.name.startswith(".")]
    for path in paths:
        assert len(load(path)) == len(PLAIN)


def test_a_server_that_polls_sees_whole_versions_only(tmp_path, monkeypatch):
    seen = []
    assets = sys.modules["keras_sae.serving._assets"]
    write = assets.write_checksums

    def look(version):
        seen.append(versions_in(tmp_path / "served"))
        write(version)
        seen.append(versions_in(tmp_path / "served"))

    monkeypatch.setattr(assets, "write_checksums", look)
    export(DenseAutoencoder(12, 9), tmp_path / "served")
    assert seen == [[], []]


class Calls(keras.layers.Layer):
    """Python in the middle of a model."""

    def call(self, inputs):
        import tensorflow as tf

        outputs = tf.numpy_function(lambda array: array * 2, [inputs], tf.float32)
        outputs.set_shape(inputs.shape)
        return outputs


class Eager(keras.layers.Layer):
    """Works where Keras asks it for shapes, and not in a graph."""

    def call(self, inputs):
        return inputs + float(inputs[0, 0])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


@pytest.mark.parametrize(("layer", "message"), [(Calls, "calls Python"), (Eager, "cannot write one of its layers")])
def test_what_cannot_be_exported_is_told_and_nothing_is_left(layer, message, tmp_path):
    encoder = keras.Sequential([keras.Input((6,)), layer(), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    with pytest.raises(ValueError, match=rf"cannot be exported.*{message}"):
        export(SparseAutoencoder(encoder, decoder), tmp_path / "a" / "served")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_versions_that_were_there(tmp_path, monkeypatch):
    model = DenseAutoencoder(12, 9)
    export(model, tmp_path / "served")
    before = sorted((tmp_path / "served").rglob("*"))
    monkeypatch.setattr(sys.modules["keras_sae.serving._saved_model"], "write_version_assets", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(model, tmp_path / "served")
    assert sorted((tmp_path / "served").rglob("*")) == before


def test_a_model_without_weights_is_exported(tmp_path):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(2.0)])
    decoder = keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(0.5)])
    endpoints = load(export(SparseAutoencoder(encoder, decoder, KSparse(2)), tmp_path / "served"))
    codes = endpoints["encode"](inputs=np.array([[1, 5, 2, 4, 3, 0]], "float32"))["codes"]
    np.testing.assert_array_equal(codes, [[0, 10, 0, 8, 0, 0]])
    # A NaN shows among the strongest, where it takes the first place.
    strongest = arrays(endpoints["encode_top_k"](inputs=np.array([[1, 5, 2, 4, np.nan, 0]], "float32")))
    np.testing.assert_array_equal(strongest["values"], [[np.nan, 10]])
    np.testing.assert_array_equal(strongest["indices"], [[4, 1]])


def test_a_decoder_of_another_shape_has_no_anomaly_score(tmp_path):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert set(load(export(SparseAutoencoder(encoder, decoder), tmp_path / "served"))) == PLAIN - {"anomaly_score"}


@pytest.mark.parametrize("version", [-1, "1", 1.5, True])
def test_bad_versions_are_refused(version, tmp_path):
    with pytest.raises(ValueError, match="version"):
        export(DenseAutoencoder(12, 9), tmp_path, version=version)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "float16"}, "'float16'"),
        ({"image_inputs": True}, r"Received: a model whose inputs have the shape \(12,\)"),
        ({"examples": np.zeros((2, 11))}, r"\(2, 11\)"),
        ({"examples": np.zeros((0, 12))}, r"\(0, 12\)"),
    ],
)
def test_bad_options_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(DenseAutoencoder(12, 9), tmp_path / "served", **options)
    assert not (tmp_path / "served").exists()


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    for directory in (tmp_path / "file", tmp_path / "file" / "served"):
        with pytest.raises(OSError, match="cannot be written to"):
            export(DenseAutoencoder(12, 9), directory)
    assert (tmp_path / "file").read_text() == "mine"
    if os.geteuid() == 0:
        return  # to whom no folder is closed
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot be written to"):
        export(DenseAutoencoder(12, 9), closed)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(TypeError, match="SparseAutoencoder"):
        export(DenseAutoencoder(12, 9).encoder, tmp_path)


def test_a_preset_is_exported_by_its_name_or_directory_with_its_own_examples(tmp_path):
    examples = np.random.default_rng(0).uniform(size=(3, 12)).astype("float32")
    DenseAutoencoder(12, 9).save_to_preset(tmp_path / "preset", examples=examples)
    path = export(tmp_path / "preset", tmp_path / "served")
    with np.load(path / "assets.extra" / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["encode/inputs/inputs"], examples)
    with pytest.raises(ValueError, match="no preset named"):
        export("nothing_of_the_kind", tmp_path / "served", version=2)


def test_a_preset_without_its_weights_is_refused(tmp_path):
    DenseAutoencoder(12, 9).save_to_preset(tmp_path / "preset")
    (tmp_path / "preset" / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match=r"model\.weights\.h5.* is missing"):
        export(tmp_path / "preset", tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_export_json_is_the_signatures(exported):
    described = json.loads((exported / "1" / "assets.extra" / "export.json").read_text())
    for name, function in load(exported / "1").items():
        outputs = {key: spec.dtype.name for key, spec in function.structured_outputs.items()}
        assert {key: spec["dtype"] for key, spec in described["endpoints"][name]["outputs"].items()} == outputs
        ((key, spec),) = described["endpoints"][name]["inputs"].items()
        assert (key, spec["dtype"]) in {
            ("inputs", "float32"),
            ("codes", "float32"),
            ("images", "uint8"),
            ("image_bytes", "string"),
        }
