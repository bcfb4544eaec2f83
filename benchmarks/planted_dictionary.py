"""Measures how much of a known dictionary sparse coding recovers: `python benchmarks/planted_dictionary.py`.

Each input is a sum of a few atoms of a random dictionary, plus a little noise. Amplitudes are between 1 and 2, with a random
sign. An atom counts as found if the absolute cosine between it and a learned atom exceeds 0.95.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae.models import SparseCodingAutoencoder
from keras_sae.regularizers import ActivityLog

L1 = keras.regularizers.L1


def rows(inputs):
    """By name: the arguments of the model, the scale of the data, the initial learning rate, and the number of epochs.

    The logarithm prefers few large activations to many small ones only above 1, so its data are ten times as large.
    """
    return {
        "FISTA, L1": ({"sparsity": L1(0.4 / inputs)}, 1, 0.03, 20),
        "FISTA, log": ({"sparsity": ActivityLog(4 / inputs)}, 10, 0.03, 20),
        "LISTA, L1": ({"sparsity": L1(0.4 / inputs), "inference": "lista", "steps": 10}, 1, 0.01, 40),
    }


def planted(arguments, seed):
    """Inputs, and the dictionary of their atoms."""
    random = np.random.default_rng(seed)
    dictionary = random.normal(size=(arguments.inputs, arguments.units))
    dictionary /= np.linalg.norm(dictionary, axis=0)
    places = np.tile(np.arange(arguments.units), (arguments.samples, 1))
    used = random.permuted(places, axis=1) < arguments.active
    codes = used * random.uniform(1, 2, used.shape) * random.choice([-1, 1], used.shape)
    return codes @ dictionary.T + arguments.noise * random.normal(size=(arguments.samples, arguments.inputs)), dictionary


def measure(x, dictionary, row, seed, batch_size=100):
    """The cosine of each planted atom with the nearest learned one, the mean number of active units, and the seconds."""
    arguments, scale, rate, epochs = row
    keras.utils.set_random_seed(seed)
    model = SparseCodingAutoencoder(*dictionary.shape, **arguments)
    decay = keras.optimizers.schedules.CosineDecay(rate, epochs * len(x) // batch_size)
    model.compile(keras.optimizers.Adam(decay), "mse")
    start = time.perf_counter()
    model.fit(scale * x, batch_size=batch_size, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    learned = keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel)
    active = (np.abs(model.encoder.predict(scale * x, verbose=0)) > 0.1 * scale).sum(axis=1)
    return np.abs(dictionary.T @ learned).max(axis=1), active.mean(), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, meaning in (
        ("inputs", 32, "size of an input"),
        ("units", 64, "number of atoms"),
        ("active", 3, "atoms in each input"),
        ("samples", 5000, "number of inputs"),
        ("seeds", 3, "runs per row"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--noise", type=float, default=0.01, help="standard deviation of the noise (default: 0.01)")
    arguments = parser.parse_args()
    print(f"{'':12}{'found':>9}{'worst run':>11}{'mean |cos|':>12}{'active':>8}{'seconds':>9}")
    for name, row in rows(arguments.inputs).items():
        runs = [measure(*planted(arguments, seed), row, seed) for seed in range(arguments.seeds)]
        found = [100 * (cosines > 0.95).mean() for cosines, _, _ in runs]
        cosine, active, seconds = (np.mean([np.mean(run[column]) for run in runs]) for column in range(3))
        print(f"{name:12}{np.mean(found):7.1f} %{min(found):9.1f} %{cosine:12.4f}{active:8.2f}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
