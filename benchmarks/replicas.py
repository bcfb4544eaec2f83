"""Compares training on one device, on two replicas in one process, and on two workers: `python benchmarks/replicas.py`.

`mechanisms` trains the same recipe with each mechanism whose values depend on the whole batch. The global batch size is
divisible neither by the number of replicas nor into the data. `architectures` trains every architecture without noise by `fit`
in Python, in float64: on an array, with validation, several metrics and two steps per execution, and on a data set of one file
and unknown size.

The script prints the largest difference from one device for weights, logged values, `evaluate` and `predict`, relative to the
largest entry of the compared array. It exits with status 1 if a difference exceeds 1e-9 in float64 or 1e-4 in float32.
"""

import argparse
import contextlib
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
SHAPE = (8, 8, 1)
BOUNDS = {"float64": 1e-9, "float32": 1e-4}
ROLES = ("one device", "two replicas", "worker 0", "worker 1")


def strategy_of(role):
    import tensorflow as tf

    if role == "two replicas":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
    from keras_sae.training import make_strategy

    return make_strategy("multi-worker" if role.startswith("worker") else "default")


def mechanisms(role, strategy, precision, epochs, folder):
    """Trains with each mechanism. Yields its name, the model, and the values to compare."""
    import keras

    from keras_sae.datasets import load_arrays
    from keras_sae.training import load_recipe, train

    x = load_arrays("fashion_mnist_sample", "test[:131]")[0].astype(precision) / 255
    for name, mechanism in MECHANISMS.items():
        path = folder / f"{name}.toml"
        if role == "one device":
            path.write_text(RECIPE.format(epochs=epochs, images=IMAGES, mechanism=mechanism))
        logs = {}
        keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, values, logs=logs: logs.update({epoch: dict(values)}))
        model = train(load_recipe(path), folder / f"{role} {name}", strategy=strategy, callbacks=[keep], verbose=0)
        logs["evaluate"] = model.evaluate(x, batch_size=50, return_dict=True, verbose=0)
        values = {f"{epoch} {key}": value for epoch, of_epoch in logs.items() for key, value in of_epoch.items()}
        values["predict"] = model.predict(x, batch_size=50, verbose=0)
        yield name, model, values


def architectures(role, strategy, precision, epochs, folder):
    """Trains each architecture. Yields its name, the model, and the values to compare."""
    import keras
    import tensorflow as tf

    from keras_sae import layers, metrics, models, regularizers

    kl, l1 = regularizers.ActivityKL(0.2, 0.1), keras.regularizers.L1(0.01)
    winners = layers.WinnerTakeAll(spatial=True, lifetime=0.2, synchronized=True)
    made = {
        "Dense": lambda: models.DenseAutoencoder(SHAPE, 20, [kl, l1], activation="sigmoid"),
        "Dense, group": lambda: models.DenseAutoencoder(SHAPE, 20, regularizers.GroupL21(0.01), tied=True),
        "Deep": lambda: models.DeepAutoencoder(SHAPE, [30], 10, {"level_1": kl, "code": layers.KSparse(3)}),
        "Stacked": lambda: models.StackedAutoencoder(SHAPE, [16, 8], kl, activation="sigmoid"),
        "Convolutional": lambda: models.ConvolutionalAutoencoder(SHAPE, [6, 4], winners),
        "SparseCoding": lambda: models.SparseCodingAutoencoder(SHAPE, 20, l1),
    }
    random = np.random.default_rng(0)
    x, labels = random.uniform(size=(77, *SHAPE)).astype(precision), random.integers(3, size=77)
    path = str(folder / "one.tfrecord")
    if role == "one device":
        with tf.io.TFRecordWriter(path) as writer:
            for image in x:
                writer.write(image.tobytes())
    for name, make in made.items():
        keras.utils.set_random_seed(0)
        with strategy.scope() if strategy else contextlib.nullcontext():
            several = ["mae", keras.metrics.MeanSquaredError(name="again"), metrics.L0(), metrics.ExplainedVariance()]
            model = make()
            model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3), "mse", metrics=several, steps_per_execution=2)
        values = {}
        if name == "Stacked":
            histories = model.pretrain(x, epochs=2, batch_size=20, shuffle=False, verbose=0)
            values.update({f"{level} {key}": of for level in histories for key, of in histories[level].history.items()})
        arrays = (x, labels) if "group" in name else (x,)
        images = tf.data.TFRecordDataset(path).map(lambda row: tf.reshape(tf.io.decode_raw(row, precision), SHAPE))
        columns = (images, tf.data.Dataset.from_tensor_slices(labels)) if "group" in name else (images,)
        held_out = tuple(each[:31] for each in arrays)
        by_array = model.fit(*arrays, batch_size=20, epochs=epochs, shuffle=False, validation_data=held_out, verbose=0)
        by_file = model.fit(tf.data.Dataset.zip(columns).batch(20), epochs=epochs, verbose=0)
        for source, history in (("array", by_array), ("file", by_file)):
            values.update({f"{source} {key}": value for key, value in history.history.items()})
        evaluated = model.evaluate(*arrays, batch_size=20, return_dict=True, verbose=0)
        values.update({f"evaluate {key}": value for key, value in evaluated.items()})
        values["predict array"] = model.predict(x, batch_size=13, verbose=0)
        values["predict file"] = model.predict(images.batch(13), verbose=0)
        yield name, model, values


EXPERIMENTS = {"mechanisms": mechanisms, "architectures": architectures}


def run(experiment, role, precision, epochs, folder):
    """Runs an experiment in one role, and writes the values to compare."""
    import keras

    strategy = strategy_of(role)
    keras.config.set_floatx(precision)
    for name, model, values in EXPERIMENTS[experiment](role, strategy, precision, epochs, folder):
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


def start(experiment, role, precision, epochs, folder, ports):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if role.startswith("worker"):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": int(role[-1])}})
    command = [
        sys.executable,
        __file__,
        experiment,
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
    """The largest difference relative to the largest entry; infinite if shapes differ or values are not finite."""
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return np.inf
    return float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-12))


def compare(experiment, precision, epochs):
    """Runs an experiment in all roles and prints the differences. Returns whether all are within bounds."""
    within = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for roles in (ROLES[:1], ROLES[1:2], ROLES[2:]):
            ports = free_ports(2)
            processes = [start(experiment, role, precision, epochs, folder, ports) for role in roles]
            for process in processes:
                printed, _ = process.communicate(timeout=600)
                if process.returncode:
                    raise SystemExit(printed[-3000:])
        rows = [path.stem.removeprefix(ROLES[0]).strip() for path in sorted(folder.glob(f"{ROLES[0]}*.npz"))]
        for row in rows:
            results = {role: np.load(folder / f"{role} {row}.npz") for role in ROLES}
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
                print(f"{precision}  {row:13}  {role:12}  {figures}", flush=True)
    return within


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"{' or '.join(EXPERIMENTS)} (default: both)")
    parser.add_argument(
        "--epochs", type=int, help="(default: 15 of 14 steps each for mechanisms, 5 of 4 steps each for architectures)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=BOUNDS,
        help="(default: float64 and float32 for mechanisms, float64 for architectures)",
    )
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        run(options.experiments[0], options.role, options.precision[0], options.epochs, options.folder)
        return 0
    within = []
    for experiment in options.experiments or EXPERIMENTS:
        if experiment not in EXPERIMENTS:
            parser.error(f"EXPERIMENT must be one of {', '.join(EXPERIMENTS)}. Received: {experiment}")
        epochs = options.epochs or (15 if experiment == "mechanisms" else 5)
        steps = 14 * epochs if experiment == "mechanisms" else 2 * 4 * epochs
        print(f"{experiment}, {steps} steps. Largest difference from one device, relative to the largest entry:\n")
        print(f"{'':7}  {'':13}  {'':12}  {'weights':>9}  {'logs':>9}  {'evaluate':>9}  {'predict':>9}")
        precisions = options.precision or (["float64", "float32"] if experiment == "mechanisms" else ["float64"])
        within += [compare(experiment, precision, epochs) for precision in precisions]
        print()
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
