"""What each endpoint computes, and that an endpoint is described in one place."""

import json
import sys

import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, SparseAutoencoder
from keras_sae.serving import export, read_description, verification_script
from keras_sae.serving._endpoints import ENDPOINTS
from keras_sae.serving._endpoints._endpoint import Endpoint

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")

WITHOUT_DETECTOR = [endpoint for endpoint in ENDPOINTS if "detector" not in endpoint.options]
PLAIN = {"serving_default", *(endpoint.name for endpoint in WITHOUT_DETECTOR if endpoint.reads != "entries")}
READ_INPUTS = [endpoint.name for endpoint in WITHOUT_DETECTOR if endpoint.reads == "inputs"]

LOAD = """
import sys
sys.modules["keras"] = sys.modules["keras_sae"] = None   # a server has neither
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


def test_clients_can_rely_on_names():
    names = {(endpoint.name, endpoint.reads, endpoint.outputs) for endpoint in ENDPOINTS}
    assert names >= {
        ("encode", "inputs", ("codes",)),
        ("encode_top_k", "inputs", ("indices", "values")),
        ("features", "inputs", ("features",)),
        ("decode", "codes", ("reconstructions",)),
        ("decode_top_k", "entries", ("reconstructions",)),
        ("reconstruct", "inputs", ("reconstructions",)),
        ("anomaly_score", "inputs", ("scores",)),
    }


def norms(model, inputs):
    codes = model.encoder(inputs, training=False)
    return {"norms": keras.ops.sqrt(keras.ops.sum(codes**2, axis=-1))}


def test_a_new_endpoint_is_one_description(monkeypatch, tmp_path):
    model = DenseAutoencoder((6, 5, 1), 12)
    added = Endpoint("norms", "inputs", ("norms",), "the Euclidean norm of each code", norms, tolerance=0.01)
    monkeypatch.setattr(sys.modules["keras_sae.serving._saved_model"], "ENDPOINTS", [ENDPOINTS[0], ENDPOINTS[4], added])
    path = export(model, tmp_path / "served", image_inputs=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 1)).astype("uint8")
    expected = np.linalg.norm(model.encoder(images.astype("float32") / 255), axis=1)
    np.testing.assert_allclose(load(path)["norms_images"](images=images)["norms"], expected, rtol=1e-5)
    row = "| `norms` | `inputs` float32 (any, 6, 5, 1) | `norms` float32 (any) | the Euclidean norm of each code |"
    assert row in (path / "assets.extra" / "README.md").read_text()
    assert json.loads((path / "assets.extra" / "requests" / "norms.row.json").read_text())["signature_name"] == "norms"
    assert "10 endpoints at batch sizes" in verification_script.check(path)


def test_endpoints_give_the_values_of_the_model_without_keras(tmp_path, in_fresh_process):
    model = DenseAutoencoder((5, 4, 1), 9, sparsity=KSparse(3, alpha=2))
    inputs = np.random.default_rng(0).uniform(size=(7, 5, 4, 1)).astype("float32")
    path = export(model, tmp_path / "served")
    assert set(load(path)) == PLAIN
    codes = model.encoder(inputs, training=False)
    np.savez(tmp_path / "io.npz", inputs=inputs, codes=codes, reconstructions=model.decoder(codes))
    in_fresh_process(LOAD, path, tmp_path / "io.npz")


def test_encode_top_k_and_anomaly_score_by_hand(model, exported):
    inputs = np.random.default_rng(1).uniform(size=(5, 6, 5, 1)).astype("float32")
    endpoints = load(exported / "1")
    codes = np.asarray(model.encoder(inputs))
    strongest = arrays(endpoints["encode_top_k"](inputs=inputs))
    assert strongest["indices"].dtype == np.int32
    # All active entries, so they give the whole code.
    assert strongest["indices"].shape == (5, 6)
    assert (np.diff(np.abs(strongest["values"])) <= 0).all()
    again = np.zeros_like(codes)
    np.put_along_axis(again, strongest["indices"].astype(int), strongest["values"], 1)
    np.testing.assert_allclose(again, codes, atol=1e-6)
    scores = arrays(endpoints["anomaly_score"](inputs=inputs))["scores"]
    np.testing.assert_allclose(scores, [np.mean((x - np.asarray(model(x[None]))[0]) ** 2) for x in inputs], rtol=1e-5)


def test_the_graph_rescales_images_and_decodes_png_and_jpeg(exported):
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


def test_indices_point_into_flattened_maps(tmp_path):
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


def test_maps_of_any_size(tmp_path):
    model = ConvolutionalAutoencoder((None, None, 1), [3], strides=1)
    endpoints = load(export(model, tmp_path / "maps", image_inputs=True))
    for size in (8, 12):
        inputs = np.random.default_rng(0).uniform(size=(2, size, size, 1)).astype("float32")
        np.testing.assert_allclose(endpoints["encode"](inputs=inputs)["codes"], model.encoder(inputs), atol=1e-5)
        # A map has at least one position, and so a code of at least 3 units.
        assert endpoints["encode_top_k"](inputs=inputs)["values"].shape == (2, 3)


@pytest.mark.parametrize(
    ("top_k", "width"), [(0, 9), (10, 9), (2.5, 9), (True, 9), ("all", 9)], ids=["none", "more", "float", "bool", "word"]
)
def test_top_k_is_at_most_the_width_of_the_code(top_k, width, tmp_path):
    with pytest.raises(
        ValueError, match=rf"whose width is {width} here, .*at least 1 and at most {width}\. Received: top_k={top_k!r}"
    ):
        export(DenseAutoencoder(12, width), tmp_path / "served", top_k=top_k)
    assert not (tmp_path / "served").exists()


def test_half_precision_models_return_float32(tmp_path):
    model = DenseAutoencoder(12, 9, sparsity=KSparse(3), dtype="mixed_bfloat16")
    described = read_description(export(model, tmp_path / "served"))["endpoints"]
    dtypes = {spec["dtype"] for table in described.values() for kind in table.values() for spec in kind.values()}
    assert dtypes == {"float32", "int32"}


def test_bad_requests_fail_and_an_empty_batch_gives_empty_outputs(exported):
    import tensorflow as tf

    endpoints = load(exported / "1")
    error = tf.errors.InvalidArgumentError
    # The size of 8 samples, which a reshape would accept.
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


def test_a_nan_affects_its_sample_only_and_is_returned(exported):
    endpoints = load(exported / "1")
    inputs = np.random.default_rng(0).uniform(size=(3, 6, 5, 1)).astype("float32")
    whole = {name: arrays(endpoints[name](inputs=inputs)) for name in READ_INPUTS}
    inputs[1, 2, 2] = np.nan
    for name in READ_INPUTS:
        for key, value in arrays(endpoints[name](inputs=inputs)).items():
            np.testing.assert_allclose(value[[0, 2]], whole[name][key][[0, 2]], atol=1e-6)
            assert np.isnan(value[1]).any() or key == "indices"


def test_a_model_without_weights_is_exported(tmp_path):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(2.0)])
    decoder = keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(0.5)])
    endpoints = load(export(SparseAutoencoder(encoder, decoder, KSparse(2)), tmp_path / "served"))
    codes = endpoints["encode"](inputs=np.array([[1, 5, 2, 4, 3, 0]], "float32"))["codes"]
    np.testing.assert_array_equal(codes, [[0, 10, 0, 8, 0, 0]])
    # A NaN comes first.
    strongest = arrays(endpoints["encode_top_k"](inputs=np.array([[1, 5, 2, 4, np.nan, 0]], "float32")))
    np.testing.assert_array_equal(strongest["values"], [[np.nan, 10]])
    np.testing.assert_array_equal(strongest["indices"], [[4, 1]])


def test_no_anomaly_score_if_reconstructions_have_another_shape(tmp_path):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert set(load(export(SparseAutoencoder(encoder, decoder), tmp_path / "served"))) == PLAIN - {"anomaly_score"}


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
