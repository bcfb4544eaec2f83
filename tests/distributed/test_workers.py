import concurrent.futures
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest

from keras_sae.distributed import DistributedModel, Workers, _workers, make_strategy
from keras_sae.distributed._meeting import meet
from keras_sae.distributed._workers import check_cluster
from keras_sae.metrics import L0
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")


@pytest.mark.slow
@tensorflow_only
def test_two_processes_train_evaluate_and_predict_as_one_device_does(root):
    # Also two replicas in one process; an uneven last batch, and a batch that does not divide by two.
    command = [sys.executable, root / "benchmarks" / "replicas.py", "mechanisms", "--epochs", "2", "--precision", "float64"]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert completed.returncode == 0, completed.stdout + completed.stderr[-3000:]
    rows = [line.split() for line in completed.stdout.splitlines() if line.startswith("float64")]
    assert len(rows) == 4 * 3  # mechanisms, roles
    assert all(float(figure) < 1e-9 for row in rows for figure in row[-4:])


@tensorflow_only
# In batches of 8, the last batch has one sample, and one of two replicas none. Two steps divide 2 batches, not 5.
@pytest.mark.parametrize(("samples", "steps_per_execution"), [(33, 1), pytest.param(33, 2, marks=pytest.mark.slow), (9, 2)])
def test_replicas_count_by_their_samples(samples, steps_per_execution, two_replicas):
    x = np.random.default_rng(0).uniform(size=(samples, 6)).astype("float32")
    weights = np.linspace(0.5, 2, samples).astype("float32")
    results = []
    for strategy in (None, two_replicas):
        keras.utils.set_random_seed(0)
        with strategy.scope() if strategy else keras.name_scope("alone"):
            model = DenseAutoencoder(6, 4, [ActivityKL(0.2, 0.1), keras.regularizers.L1(0.01)], activation="sigmoid")
            model.compile(keras.optimizers.SGD(0.5), "mse", steps_per_execution=steps_per_execution)
        history = model.fit(x, sample_weight=weights, batch_size=8, epochs=3, shuffle=False, verbose=0).history
        results.append([*model.get_weights(), *history.values(), model.predict(x, batch_size=5, verbose=0)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@tensorflow_only
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # the end of an epoch, to Keras
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_a_data_set_of_unknown_size_ends_as_on_one_device(steps_per_execution, two_replicas):
    import tensorflow as tf

    x = np.random.default_rng(0).uniform(size=(29, 6)).astype("float32")
    results = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = DenseAutoencoder(6, 4)
            model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3), "mse", steps_per_execution=steps_per_execution)
        dataset = tf.data.Dataset.from_tensor_slices(x).filter(lambda row: True).map(lambda row: (row,)).batch(10)
        history = model.fit(dataset, epochs=3, verbose=0).history
        results.append([*model.get_weights(), *history.values()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@tensorflow_only
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
# Replicas do not compile by XLA.
@pytest.mark.parametrize(
    ("steps_per_execution", "jit_compile", "replicas"),
    [(1, False, 1), (2, False, 1), (1, True, 1), pytest.param(1, False, 2, marks=pytest.mark.slow), (2, False, 2)],
)
def test_the_end_of_the_data_is_not_counted_as_a_step(steps_per_execution, jit_compile, replicas, two_replicas):
    import tensorflow as tf

    x = np.random.default_rng(0).uniform(size=(40, 6)).astype("float32")

    def late_end():  # so whatever does not wait for data has happened by then
        time.sleep(0.2)
        yield from ()

    dataset = tf.data.Dataset.from_tensor_slices(x).batch(10, drop_remainder=True)
    dataset = dataset.concatenate(tf.data.Dataset.from_generator(late_end, output_signature=dataset.element_spec))
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        model = DenseAutoencoder(6, 4)
        model.compile("sgd", "mse", metrics=["mae"], steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    expected = model.evaluate(x, batch_size=10, return_dict=True, verbose=0)
    assert model.evaluate(dataset, return_dict=True, verbose=0) == pytest.approx(expected, rel=1e-5)
    model.optimizer.learning_rate = 0.0
    assert model.fit(dataset, epochs=2, verbose=0).history["mae"] == pytest.approx([expected["mae"]] * 2, rel=1e-5)
    counts = strategy.experimental_local_results(model.optimizer.iterations.value)
    assert [int(count) for count in counts] == [8] * replicas


@tensorflow_only
def test_arrays_that_are_given_in_parts_stay_as_they_are(two_replicas):
    memory = np.zeros(64 * 32 + 16, "float32")
    start = -memory.ctypes.data // 4 % 16  # TensorFlow uses memory that starts at a multiple of 64 bytes without copying it
    x = memory[start : start + 64 * 32].reshape(64, 32)
    x[:] = np.random.default_rng(0).uniform(size=x.shape)
    before = x.copy()

    class Parts(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, number):
            return (x[16 * number :][:16],)

    with two_replicas.scope():
        model = DenseAutoencoder(32, 4, center=True)
        model.compile("adam", "mse", steps_per_execution=2)
    model.evaluate(Parts(), verbose=0)
    model.fit(Parts(), verbose=0)
    model.predict(Parts(), verbose=0)
    np.testing.assert_array_equal(x, before)


@tensorflow_only
def test_a_first_batch_may_be_uneven(two_replicas):
    x = np.random.default_rng(0).uniform(size=(7, 6)).astype("float32")
    with two_replicas.scope():
        model = DenseAutoencoder(6, 4)
        model.compile("sgd", "mse")
    model.fit(x, batch_size=7, verbose=0)
    error = np.mean((model.predict(x, verbose=0) - x) ** 2)
    assert model.evaluate(x, batch_size=7, return_dict=True, verbose=0)["loss"] == pytest.approx(error, rel=1e-5)


@tensorflow_only
def test_keras_builds_models_by_the_private_method_that_is_replaced(two_replicas):
    assert list(inspect.signature(keras.Model._maybe_symbolic_build).parameters) == ["self", "iterator", "data_batch"]
    calls = []

    class Watched(DistributedModel):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            calls.append((iterator is not None, data_batch is not None))
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    with two_replicas.scope():
        inputs = keras.Input((6,))
        model = Watched(inputs, keras.layers.Dense(6)(inputs))
        model.compile("sgd", "mse")
    x = np.ones((7, 6), "float32")
    model.fit(x, x, batch_size=7, verbose=0)
    model.evaluate(x, x, batch_size=7, verbose=0)
    assert calls == [(True, False), (True, False)]


@tensorflow_only
def test_workers_refuse_metrics_created_outside_their_scope(two_replicas, monkeypatch):
    outside = [keras.metrics.MeanSquaredError(), L0()]
    with two_replicas.scope():
        model = DenseAutoencoder(6, 4)
        inside = [keras.metrics.MeanSquaredError(), L0(), "mae"]
    model.compile("sgd", "mse", metrics=outside)  # in one process both replicas reach them
    monkeypatch.setattr(type(model), "_workers", lambda self: True)
    model.compile("sgd", "mse", metrics=inside)
    for metric in outside:
        with pytest.raises(ValueError, match=f"'{metric.name}' was created outside the strategy's scope"):
            model.compile("sgd", "mse", metrics=["mae", metric])


@tensorflow_only
def test_parameter_servers_are_refused_with_the_reason(monkeypatch):
    import tensorflow as tf

    with pytest.raises(ValueError, match="no global batch"):
        make_strategy("parameter-server")
    strategy = object.__new__(tf.distribute.ParameterServerStrategy)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    with pytest.raises(ValueError, match="ParameterServerStrategy is not supported"):
        DenseAutoencoder(6, 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "is not set"),
        ("", "is not set"),
        ("{", "not valid JSON"),
        ("[]", "is incomplete"),
        ('{"cluster": {"worker": ["a:1"]}}', "'task'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}', "'index'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "counts from 0"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}', "counts from 0"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "host:port"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}', "workers"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "'chief'"),
    ],
)
def test_a_malformed_cluster_is_refused_with_an_example(config, message, monkeypatch):
    with pytest.raises(ValueError, match=message) as refused:
        check_cluster(config)
    assert '"cluster": {"worker": ["host-a:2222"' in str(refused.value)


def test_clusters_with_and_without_a_chief_are_accepted():
    check_cluster('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    check_cluster('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}')


@tensorflow_only
@pytest.mark.parametrize(("name", "kind"), [("mirrored", "MirroredStrategy"), ("multi-worker", "MultiWorkerMirroredStrategy")])
def test_strategies_say_that_tensorflow_is_in_use(name, kind, monkeypatch):
    import tensorflow as tf

    def fails():
        raise RuntimeError("Collective ops must be configured at program startup\n[many lines]")

    monkeypatch.setattr(tf.distribute, kind, fails)
    monkeypatch.setattr(_workers, "meet", lambda *_: None)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}')
    with pytest.raises(RuntimeError, match=f"'{name}' cannot be made.*already in use.*says: Collective ops.*startup$"):
        make_strategy(name)


def test_strategies_go_by_name():
    assert make_strategy("default") is None
    with pytest.raises(ValueError, match="mirrored"):
        make_strategy("mirored")


def free_ports(count):
    servers = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def test_workers_meet_and_say_for_whom_they_wait(capsys):
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    met = []

    def arrive(index):
        meet({"worker": addresses}, {"type": "worker", "index": index}, say_after=0.3)
        met.append(index)

    first = threading.Thread(target=arrive, args=(0,), daemon=True)
    first.start()
    time.sleep(1)
    assert met == []
    with socket.create_server(("", int(addresses[1].rpartition(":")[2]))):
        first.join(5)
    assert met == [0]
    said = capsys.readouterr().err.splitlines()
    assert said == [f"Waiting for the workers at {addresses[1]} of TF_CONFIG ...", "All workers are there."]


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=f"uses the port {port}"):
            meet({"worker": [f"localhost:{port}"]}, {"type": "worker", "index": 0})


WAITS = """
from keras_sae.distributed._meeting import meet
meet({"worker": ["localhost:%d", "localhost:%d"]}, {"type": "worker", "index": 0}, say_after=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_obeys_signals(sent):
    process = subprocess.Popen([sys.executable, "-c", WAITS % tuple(free_ports(2))], stderr=subprocess.PIPE, text=True)
    assert any("Waiting for" in line for line in process.stderr)
    process.send_signal(sent)
    process.communicate(timeout=20)
    assert process.returncode == -sent


class OneOf(Workers):
    """A worker that hears what the test says."""

    def __init__(self, of_chief, differing):
        super().__init__(None)
        self._of_chief, self._differing = of_chief, differing

    def tell(self, content):
        return self._of_chief

    def sum(self, array):
        return array * 0 + self._differing


def test_workers_that_differ_say_in_what_and_the_others_stop_too():
    chiefs = {"seed": 3, "model": {"code_units": 4}, "checksum of the images": "a"}
    OneOf(chiefs, 0).check_same(dict(chiefs))
    with pytest.raises(ValueError, match=r"checksum of the images: 'b' here, 'a' there; seed: 4 here, 3 there"):
        OneOf(chiefs, 1).check_same({**chiefs, "seed": 4, "checksum of the images": "b"})
    with pytest.raises(ValueError, match="1 of the workers differs from the first"):
        OneOf(chiefs, 1).check_same(dict(chiefs))


class InThreads(Workers):
    """Workers that are threads of one process."""

    def __init__(self, index, given, barrier):
        self.index, self.given, self.barrier = index, given, barrier

    @property
    def is_chief(self):
        return self.index == 0

    def _addresses(self):
        return ["a:1", "b:2", "c:3"], self.index

    def sum(self, array):
        self.given[self.index] = np.asarray(array)
        self.barrier.wait(10)
        total = sum(self.given.values())
        self.barrier.wait(10)
        return total


@pytest.mark.parametrize("failing", [[], [1], [2, 0]])
def test_an_error_of_one_worker_is_told_to_all(failing):
    given, barrier = {}, threading.Barrier(3)

    def work(index):
        try:
            with InThreads(index, given, barrier).together():
                if index in failing:
                    raise FileNotFoundError(f"the disk of worker {index} is gone")
        except (FileNotFoundError, ValueError) as error:
            return type(error).__name__, str(error)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        said = list(pool.map(work, range(3)))
    if not failing:
        assert said == [None, None, None]
        return
    first = min(failing)
    told = f"The worker at {'abc'[first]}:{first + 1} cannot go on, and training needs all workers. It says: "
    for index in range(3):
        own = ("FileNotFoundError", f"the disk of worker {index} is gone")
        assert said[index] == (own if index in failing else ("ValueError", f"{told}the disk of worker {first} is gone"))


RECIPE = """
title = "small"
epochs = 1
batch_size = 64
seed = 3
data = { name = "fashion_mnist_sample", train = "train[:300]", test = "test[:99]" }
model = { class = "DenseAutoencoder", code_units = 8, sparsity = { class = "KSparse", k = 4 } }
optimizer = { class = "Adam" }
"""


@pytest.mark.slow
@tensorflow_only
def test_two_workers_with_other_recipes_say_so_and_end(tmp_path):
    (tmp_path / "small.toml").write_text(RECIPE)
    addresses = [f"localhost:{port}" for port in free_ports(2)]

    def start(index, *arguments):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        arguments = ["train", tmp_path / "small.toml", "--output", tmp_path / "run", "--strategy", "multi-worker", *arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "keras_sae", *map(str, arguments)],
            env={**os.environ, "TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said_by(*processes):
        return [process.communicate(timeout=200)[1] for process in processes], [process.returncode for process in processes]

    processes = [start(0), start(1, "--set", "seed=4", "--set", "model.code_units=9")]
    said, statuses = said_by(*processes)
    assert "1 of the workers differs from the first" in said[0], said
    assert "'code_units': 9" in said[1], said
    assert "seed: 4 here, 3 there" in said[1], said
    assert statuses == [2, 2]
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
    said, statuses = said_by(start(0), start(1, "--set", "data.name=missing"))  # one has no data
    assert "no data set named 'missing'" in said[1], said
    assert f"The worker at {addresses[1]} cannot go on" in said[0], said
    assert said[1].split("keras-sae train: ")[1].strip() in said[0], said
    assert statuses == [2, 2]


def test_strategies_need_tensorflow(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    for name in ("mirrored", "multi-worker"):
        with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
            make_strategy(name)
