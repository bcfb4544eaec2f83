import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each worker, and for what it starts
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Two devices on one CPU, so that MirroredStrategy has two replicas. It must be said before TensorFlow starts.
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    # First what takes long, the notebooks, the README and the wheel, so that no worker waits for them at the end.
    items.sort(key=lambda item: item.path.parent.name != "tests")


@pytest.fixture(autouse=True)
def _seeded():
    """Seeds each test. TensorFlow, which then makes all its kernels again, is left out while it has the seed already."""
    import keras

    with pytest.MonkeyPatch.context() as patch:
        tf = sys.modules.get("tensorflow")
        if keras.backend.backend() == "tensorflow" and tf.compat.v1.get_seed(op_seed=1)[0] == 0:
            patch.setattr(tf.random, "set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _forgotten():
    """Frees what the tests of a file leave: models that hold each other, and what JAX has compiled, gigabytes over all tests.

    The garbage collector never looks at the rest again. Keras runs it for each weight that it deletes, as quantising does, and
    late in a run a single collection took a second.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()
    gc.freeze()


@pytest.fixture
def eagerly(monkeypatch):
    """Models step untraced, for tests of so few steps that the trace costs more. JAX would compile each operation by itself."""
    import keras

    if keras.backend.backend() != "jax":
        monkeypatch.setattr(keras.Model, "run_eagerly", property(lambda model: True, lambda model, value: None))


@pytest.fixture(scope="session")
def root():
    """The root of the source checkout."""
    return ROOT


@pytest.fixture(scope="session")
def sample():
    """`(images, labels)` of 256 training images of the shipped sample, as float32 in [0, 1]."""
    from keras_sae.datasets import load_arrays

    images, labels = load_arrays("fashion_mnist_sample", "train[:256]")
    return images.astype("float32") / 255, labels


@pytest.fixture(scope="session")
def two_replicas():
    """A MirroredStrategy of two replicas. One for all tests: TensorFlow mixes up the collectives of a second one."""
    tf = pytest.importorskip("tensorflow", reason="tf.distribute is TensorFlow's")

    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2
    return tf.distribute.MirroredStrategy(devices)


@pytest.fixture(scope="session")
def tfds_data_dir():
    """The folder of the whole MNIST and Fashion-MNIST, where there is one."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("needs the whole MNIST: set TFDS_DATA_DIR to a folder of TensorFlow Datasets that has it")
    return folder


@pytest.fixture(scope="session")
def in_fresh_process(tmp_path_factory):
    """Runs Python code in a new process, in an own directory, and returns what it printed.

    With `forked=True` it is a fork of one that has imported Keras and nothing else, which saves seconds. Where the environment
    has changed, Python starts all the same.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras"])
    known = _environment()

    def run(code, *arguments, check=True, forked=False, **environment):
        folder, arguments = tmp_path_factory.mktemp("process"), list(map(str, arguments))
        if not forked or environment or _environment() != known:
            command = [sys.executable, "-c", code, *arguments]
            environment = {**os.environ, **environment}
            completed = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)
        else:
            (folder / "code.py").write_text(FORKED.format(folder=str(folder), arguments=arguments) + code)
            process = context.Process(target=runpy.run_path, args=(str(folder / "code.py"),))
            process.start()
            process.join(timeout=300)
            process.kill()
            printed = [(folder / name).read_text() for name in ("stdout", "stderr")]
            completed = subprocess.CompletedProcess(code, process.exitcode, *printed)
        if check:
            assert completed.returncode == 0, completed.stderr[-3000:]
            return completed.stdout
        return completed

    return run


FORKED = """
import os, sys
os.chdir({folder!r})
os.dup2(os.open("stdout", os.O_WRONLY | os.O_CREAT), 1)
os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
sys.argv = ["-c", *{arguments!r}]
"""


def _environment():
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture
def codes():
    """A batch of 16 codes of 12 units in (0, 1)."""
    return np.random.default_rng(0).uniform(0.01, 0.9, (16, 12)).astype("float32")
