"""Codes as arrays, as their largest entries, and as sparse matrices."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_sae.evaluation import decode_top_k, encode, encode_top_k
from keras_sae.evaluation._encode import batches_of
from keras_sae.layers import BatchKSparse, KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder
from keras_sae.ops import to_csr

X = np.random.default_rng(0).random((7, 6), "float32")


@pytest.fixture(scope="module", params=["dense", "maps"])
def model_and_inputs(request):
    if request.param == "dense":
        return DenseAutoencoder(6, 20, KSparse(3, select_by="magnitude")), X
    model = ConvolutionalAutoencoder((4, 4, 1), filters=5, kernel_size=3, sparsity=KSparse(2))
    return model, np.random.default_rng(1).random((7, 4, 4, 1), "float32")


def test_sparse_codes_hold_what_dense_codes_hold(model_and_inputs):
    model, x = model_and_inputs
    dense = encode(model, x)
    codes = encode(model, x, batch_size=3, sparse=True)
    np.testing.assert_allclose(codes.toarray(), dense.reshape(7, -1), rtol=1e-6)  # batches of other sizes round differently
    assert codes.nnz == np.count_nonzero(dense)
    assert codes.dtype == "float32"


def test_the_entries_that_are_active_decode_to_the_reconstruction(model_and_inputs):
    model, x = model_and_inputs
    indices, values = encode_top_k(model, x, batch_size=3)
    assert indices.shape == (7, model.active_entries)
    np.testing.assert_allclose(decode_top_k(model, indices, values, batch_size=4), model.predict(x, verbose=0), atol=1e-6)
    entries = int(np.prod(model.decoder.input_shape[1:]))
    restored = to_csr((indices, values), entries).toarray()
    np.testing.assert_allclose(restored, encode(model, x).reshape(7, -1), rtol=1e-6)


def test_streams_give_what_arrays_give_and_no_samples_an_empty_result(model_and_inputs):
    tf = pytest.importorskip("tensorflow")
    model, x = model_and_inputs
    expected = encode(model, x)

    def streams():
        yield tf.data.Dataset.from_tensor_slices((x, np.arange(7))).batch(3)  # with labels
        yield (x[start : start + 2] for start in range(0, 7, 2))

    for stream in streams():
        np.testing.assert_allclose(encode(model, stream, batch_size=2), expected, rtol=1e-5, atol=1e-6)
    for stream in streams():
        np.testing.assert_array_equal(encode_top_k(model, stream)[0], encode_top_k(model, x)[0])
    assert encode(model, x[:0]).shape == (0, *expected.shape[1:])
    assert encode(model, x[:0], sparse=True).shape == (0, expected[0].size)
    indices, values = encode_top_k(model, x[:0])
    assert indices.shape == values.shape == (0, model.active_entries)
    assert decode_top_k(model, indices, values).shape == (0, *x.shape[1:])


def test_what_cannot_be_encoded_is_refused(model_and_inputs):
    model, x = model_and_inputs
    for function in (encode, encode_top_k):
        with pytest.raises(ValueError, match=r"is one sample. Give `x\[None\]`"):
            function(model, x[0])
        with pytest.raises(ValueError, match="`batch_size`"):
            function(model, x, batch_size=0)
        with pytest.raises(ValueError, match="no samples"):
            function(model, iter(()))
    with pytest.raises(ValueError, match="for an encoder alone"):
        encode_top_k(model.encoder, x)
    with pytest.raises(TypeError, match="needs a decoder"):
        decode_top_k(model.encoder, *encode_top_k(model, x))


def test_the_largest_entries_by_hand():
    class Codes:
        active_entries = None

        def encoder(self, inputs, training):
            return inputs

    codes = np.array([[0.5, -3.0, 2.0, 0.0], [1.0, np.nan, 0.0, 0.0]], "float32")
    indices, values = encode_top_k(Codes(), codes, k=2)
    assert indices.tolist() == [[1, 2], [1, 0]]
    np.testing.assert_array_equal(values, np.array([[-3.0, 2.0], [np.nan, 1.0]], "float32"))
    with pytest.raises(ValueError, match="`k` is the number of entries"):
        encode_top_k(Codes(), codes)
    with pytest.raises(ValueError, match="each code of 4"):
        encode_top_k(Codes(), codes, k=5)


def test_equal_indices_add_up_and_zeros_are_left_out():
    matrix = to_csr({"indices": np.array([[3, 1, 3], [0, 0, 2]]), "values": np.array([[1.0, 0.0, 2.0], [1.0, -1.0, 4.0]])}, 5)
    assert matrix.toarray().tolist() == [[0, 0, 0, 3, 0], [0, 0, 4, 0, 0]]
    assert matrix.nnz == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), r"Received: an array of shape \(3,\)"),
        ((np.zeros((2, 3)), 3), "tell their number of entries themselves"),
        (((np.zeros((2, 2), int), np.zeros((2, 2))),), "do not tell the number of `entries`"),
        (((np.zeros((2, 2), int), np.zeros((2, 3))), 4), "the same shape"),
        (((np.full((1, 1), 4), np.ones((1, 1))), 4), "at most 3"),
    ],
)
def test_matrices_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        to_csr(*arguments)


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([[0, 20]], [[1.0, 1.0]], "at most 19"),
        ([[-1, 2]], [[1.0, 1.0]], "at least 0"),
        ([[0.5, 2.0]], [[1.0, 1.0]], "the indices integers"),
        ([[0, 2]], [[1.0]], "the same shape"),
    ],
)
def test_entries_that_cannot_be_decoded(indices, values, message):
    with pytest.raises(ValueError, match=message):
        decode_top_k(DenseAutoencoder(6, 20, KSparse(3)), indices, values)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the sparse path is TensorFlow's")
@pytest.mark.parametrize("selection", [KSparse(4, alpha=2), BatchKSparse(4)], ids=["k", "batch"])
def test_wide_codes_are_never_dense(monkeypatch, selection):
    model = DenseAutoencoder(5, 64, selection)
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
    model.adapt(x)
    model(x, training=True)  # sets the threshold of the batch

    def results(sparse):
        model.sparse_path = sparse
        indices, values = encode_top_k(model, x, k=6, batch_size=4)
        decoded = decode_top_k(model, indices, values, batch_size=4)
        indices = np.where(values == 0, -1, indices)  # which zero does not matter
        return encode(model, x, batch_size=4, sparse=True).toarray(), indices, values, decoded

    expected = results(False)
    for layer in (model.selections[0], model.decoder.get_layer("decode")):
        monkeypatch.setattr(layer, "call", lambda *_, **__: pytest.fail("a dense code was made"))
    for one, other in zip(results(True), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


MEASURE = """
import pathlib, re
import numpy as np
from keras_sae.evaluation import encode
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

model = DenseAutoencoder(8, 65536, KSparse(16), center=False)
x = np.random.default_rng(0).normal(size=(4000, 8)).astype("float32")
encode(model, x[:2], sparse=True)
before = peak()
codes = encode(model, x, sparse=True)
assert codes.shape == (4000, 65536) and codes.nnz == 4000 * 16
assert peak() - before < 600, peak() - before   # MB; the dense codes would take 1,000
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux shows it")
def test_codes_of_65536_units_are_encoded_in_bounded_memory(in_fresh_process):
    in_fresh_process(MEASURE)


def test_wide_layers_inside_a_nested_model_make_batches_small():
    narrow = keras.Sequential([keras.Input((6,)), keras.layers.Dense(20), keras.layers.Dense(2)])
    for model in (narrow, keras.Sequential([keras.Input((6,)), narrow, keras.layers.Dense(2)])):
        assert [len(batch) for batch in batches_of(model, X, most_entries=100)] == [5, 2]
