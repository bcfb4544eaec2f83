"""Endpoints of models with wide codes, which read the few entries that stay."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_sae.layers import BatchKSparse, KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.serving import export, verification_script
from keras_sae.serving._endpoints import ENDPOINTS, signatures_of

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="endpoints are TensorFlow's")

X = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")


def endpoint(model, name, sparse, top_k=4):
    model.sparse_path = sparse
    return signatures_of(ENDPOINTS, model, {"top_k": top_k, "detector": None})[name].function


def encode_top_k(model, sparse, top_k):
    return endpoint(model, "encode_top_k", sparse, top_k)


@pytest.mark.parametrize("select_by", ["value", "magnitude"])
@pytest.mark.parametrize("top_k", [3, 8, 9])
def test_the_strongest_entries_are_those_of_the_dense_code(select_by, top_k):
    model = DenseAutoencoder(5, 64, sparsity=KSparse(4, alpha=2, select_by=select_by), center=False)
    one, other = (encode_top_k(model, sparse, top_k)(X) for sparse in (True, False))
    np.testing.assert_array_equal(one["indices"], other["indices"])
    np.testing.assert_allclose(one["values"], other["values"], rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.8, -0.1])
def test_the_strongest_entries_of_a_batch_that_selects_together(threshold):
    model = DenseAutoencoder(5, 64, sparsity=BatchKSparse(4), center=False)
    model.selections[0].threshold.assign(threshold)
    one, other = (encode_top_k(model, sparse, 12)(X) for sparse in (True, False))
    np.testing.assert_allclose(one["values"], other["values"], rtol=1e-6)
    active = other["values"].numpy() != 0
    assert active.any()
    np.testing.assert_array_equal(one["indices"].numpy()[active], other["indices"].numpy()[active])
    one, other = (endpoint(model, "reconstruct", sparse)(X)["reconstructions"] for sparse in (True, False))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("selection", [KSparse, BatchKSparse])
def test_a_nan_is_seen(selection):
    model = DenseAutoencoder(5, 64, sparsity=selection(4), center=False)
    model(X, training=True)
    kernel = model.encoder.get_layer("encode").kernel
    kernel.assign(np.where(np.arange(64) == 50, np.nan, kernel.numpy()))
    found = encode_top_k(model, True, 4)(X)
    np.testing.assert_array_equal(found["indices"][:, 0], 50)
    assert np.isnan(found["values"][:, 0]).all()


def test_reconstructions_are_those_of_the_dense_code():
    model = DenseAutoencoder(5, 64, sparsity=KSparse(4), tied=True)
    model.adapt(X)
    x = X.copy()
    for x[3] in (X[3], np.full(5, np.nan)):
        one, other = (endpoint(model, "reconstruct", sparse)(x)["reconstructions"] for sparse in (True, False))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["encode_top_k", "reconstruct"])
def test_the_dense_code_is_not_made(name):
    import tensorflow as tf

    def operations(sparse):
        function = endpoint(model, name, sparse, 8)
        concrete = tf.function(function, input_signature=[tf.TensorSpec((None, 5))]).get_concrete_function()
        return {operation.type for operation in concrete.graph.get_operations()}  # not those of branches

    model = DenseAutoencoder(5, 2048, sparsity=KSparse(8), center=False)
    scatters = {"UnsortedSegmentSum", "ScatterNd"}
    assert scatters & operations(False)
    assert not scatters & operations(None)


@pytest.mark.parametrize("selection", [KSparse, BatchKSparse])
def test_an_export_decodes_entries(tmp_path, selection):
    import tensorflow as tf

    model = DenseAutoencoder(5, 64, sparsity=selection(4), tied=True)
    model.sparse_path = True
    model.adapt(X)
    model(X, training=True)
    path = export(model, tmp_path / "wide", examples=X[:3])
    served = tf.saved_model.load(path).signatures
    entries = served["encode_top_k"](inputs=X)
    found = served["decode_top_k"](**entries)["reconstructions"]
    if selection is KSparse:
        np.testing.assert_allclose(found, served["reconstruct"](inputs=X)["reconstructions"], rtol=1e-5, atol=1e-6)
    indices, values = np.array([[63, 0], [7, 7]], "int32"), np.array([[1.0, -2.0], [0.5, 1.0]], "float32")
    code = np.zeros((2, 64), "float32")
    code[0, [63, 0]], code[1, 7] = values[0], 1.5  # equal indices add up
    found = served["decode_top_k"](indices=tf.constant(indices), values=tf.constant(values))["reconstructions"]
    np.testing.assert_allclose(found, served["decode"](codes=tf.constant(code))["reconstructions"], rtol=1e-5, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="64"):
        served["decode_top_k"](indices=tf.constant([[64]]), values=tf.constant([[1.0]]))
    assert "endpoints at batch sizes" in verification_script.check(path)
    graph = served["decode_top_k"].graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    assert not {"UnsortedSegmentSum", "ScatterNd"} & operations


def test_narrow_codes_have_no_endpoint_for_entries():
    model = DenseAutoencoder(5, 64, sparsity=KSparse(4))
    assert "decode_top_k" not in signatures_of(ENDPOINTS, model, {"top_k": 4, "detector": None})


@pytest.mark.slow
def test_endpoints_of_entries_in_onnx(tmp_path):
    import tensorflow as tf

    onnxruntime = pytest.importorskip("onnxruntime")
    model = DenseAutoencoder(5, 1024, sparsity=KSparse(8), tied=True)
    model.adapt(X)
    path = export(model, tmp_path / "wide", examples=X[:3])
    served = tf.saved_model.load(path).signatures
    entries = {name: value.numpy() for name, value in served["encode_top_k"](inputs=X).items()}
    for name, inputs in (("decode_top_k", entries), ("reconstruct", {"inputs": X})):
        file = tmp_path / f"{name}.onnx"
        command = ["-m", "tf2onnx.convert", "--saved-model", path, "--signature_def", name, "--output", file]
        subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
        session = onnxruntime.InferenceSession(file)
        found = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))
        for key, expected in served[name](**{key: tf.constant(value) for key, value in inputs.items()}).items():
            np.testing.assert_allclose(found[key], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_wide_encoders_in_other_formats(tmp_path):
    from keras_sae.serving import export_encoder

    model = DenseAutoencoder(5, 1024, sparsity=KSparse(4), center=False)
    for suffix, package in ((".onnx", "onnxruntime"), (".tflite", "ai_edge_litert"), (".xml", "openvino")):
        pytest.importorskip(package)
        assert export_encoder(model, tmp_path / f"wide{suffix}") < 1e-5
