"""One device, two replicas in one process, and two processes on this machine train alike: `python benchmarks/replicas.py`.

The same recipe with the same global batch, which divides neither among the replicas nor into the data, is trained by each
mechanism whose numbers depend on the whole batch. Printed is the largest difference from one device, relative to the largest
entry of what is compared: weights, every logged value of every epoch, `evaluate`, and `predict`. Exits with status 1 where
one exceeds 1e-9 in float64 or 1e-4 in float32.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MECHANISMS = {
    "ActivityKL": "sparsity = { class = 'ActivityKL', target = 0.1, weight = 0.01 }",
    "KSparse": "sparsity = { class = 'KSparse', k = 5 }",
    "BatchKSparse": "sparsity = { class = 'BatchKSparse', k = 5, synchronized = true }",
    "WinnerTakeAll": "sparsity = { class = 'WinnerTakeAll', lifetime = 0.1, synchronized = true }",
}
RECIPE = """
title = "small"
epochs = {epochs}
batch_size = 75
seed = 0
data = {{ name = "fashion_mnist_sample", train = "train[:{images}]", test = "test" }}
optimizer = {{ class = "Adam" }}
[model]
class = "DenseAutoencoder"
code_units = 64
{mechanism}
"""
IMAGES = 1040  # 14 batches, the last of 65
BOUNDS = {"float64": 1e-9, "float32": 1e-4}
ROLES = ("one device", "two replicas", "worker 0", "worker 1")


def run(role, precision, epochs, folder):
    """Trains with each mechanism in one role, and writes what came of it."""
    import keras
    import tensorflow as tf

    if role == "two replicas":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from keras_sae.datasets import load_arrays
    from keras_sae.training import load_recipe, make_strategy, train

    strategy = make_strategy("multi-worker") if role.startswith("worker") else None
    if role == "two replicas":
        strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
    keras.config.set_floatx(precision)
    x = load_arrays("fashion_mnist_sample", "test[:131]")[0].astype(precision) / 255
    for name, mechanism in MECHANISMS.items():
        path = folder / f"{name}.toml"
        if role == "one device":
            path.write_text(RECIPE.format(epochs=epochs, images=IMAGES, mechanism=mechanism))
        logs = {}
        keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, values, logs=logs: logs.update({epoch: dict(values)}))
        recipe = load_recipe(path)
        object.__setattr__(recipe, "callbacks", lambda *arguments, keep=keep: [keep])
        model = train(recipe, folder / f"{role} {name}", strategy=strategy, verbose=0)
        logs["evaluate"] = model.evaluate(x, batch_size=50, return_dict=True, verbose=0)
        values = {f"{epoch} {key}": value for epoch, of_epoch in logs.items() for key, value in of_epoch.items()}
        values["predict"] = model.predict(x, batch_size=50, verbose=0)
        values.update({f"weight {index}": weight for index, weight in enumerate(model.get_weights())})
        np.savez(folder / f"{role} {name}.npz", **values)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(role, precision, epochs, folder, ports):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if role.startswith("worker"):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": int(role[-1])}})
    command = [
        sys.executable,
        __file__,
        "--role",
        role,
        "--precision",
        precision,
        "--epochs",
        str(epochs),
        "--folder",
        str(folder),
    ]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def difference(one, other):
    """The largest difference, relative to the largest entry; infinite where shapes differ."""
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return np.inf
    return float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-12))


def compare(precision, epochs):
    """Trains in all roles and prints the differences. Returns whether all are within bounds."""
    within = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for roles in (ROLES[:1], ROLES[1:2], ROLES[2:]):
            ports = free_ports(2)
            processes = [start(role, precision, epochs, folder, ports) for role in roles]
            for process in processes:
                printed, _ = process.communicate(timeout=600)
                if process.returncode:
                    raise SystemExit(printed[-3000:])
        for mechanism in MECHANISMS:
            results = {role: np.load(folder / f"{role} {mechanism}.npz") for role in ROLES}
            for role in ROLES[1:]:
                differences = {key: difference(results[ROLES[0]][key], results[role][key]) for key in results[ROLES[0]].files}
                groups = {"weights": "weight", "predict": "predict", "evaluate": "evaluate", "logs": ""}
                largest, left = {}, set(differences)
                for group, start_ in groups.items():
                    keys = {key for key in left if key.startswith(start_)}
                    left -= keys
                    largest[group] = max(differences[key] for key in keys)
                within &= max(largest.values()) <= BOUNDS[precision]
                figures = "  ".join(f"{largest[group]:9.1e}" for group in ("weights", "logs", "evaluate", "predict"))
                print(f"{precision}  {mechanism:13}  {role:12}  {figures}", flush=True)
    return within


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15, help="of 14 steps each (default: %(default)s)")
    parser.add_argument("--precision", nargs="+", default=["float64", "float32"], choices=BOUNDS)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        run(options.role, options.precision[0], options.epochs, options.folder)
        return 0
    print(f"{14 * options.epochs} steps. Largest difference from one device, relative to the largest entry:\n")
    print(f"{'':7}  {'':13}  {'':12}  {'weights':>9}  {'logs':>9}  {'evaluate':>9}  {'predict':>9}")
    within = [compare(precision, options.epochs) for precision in options.precision]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
