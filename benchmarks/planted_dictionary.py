"""How much of a planted dictionary sparse coding finds: `python benchmarks/planted_dictionary.py`.

Inputs are sums of a few atoms of a random dictionary, with amplitudes of 1 to 2 of either sign, and a little noise. An atom is
found where the cosine between it and a learned one exceeds 0.95 in absolute value.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae.models import SparseCodingAutoencoder
from keras_sae.regularizers import ActivityLog

L1 = keras.regularizers.L1


def rows(inputs):
    """By name: arguments of the model, the scale of the data, the first learning rate, and epochs.

    The logarithm tells few large from many small activations above 1 only, so its data are ten times as large.
    """
    return {
        "FISTA, L1": ({"sparsity": L1(0.4 / inputs)}, 1, 0.03, 20),
        "FISTA, log": ({"sparsity": ActivityLog(4 / inputs)}, 10, 0.03, 20),
        "LISTA, L1": ({"sparsity": L1(0.4 / inputs), "inference": "lista", "steps": 10}, 1, 0.01, 40),
    }


def planted(arguments, seed):
    """Inputs, and the dictionary that they are made of."""
    random = np.random.default_rng(seed)
    dictionary = random.normal(size=(arguments.inputs, arguments.units))
    dictionary /= np.linalg.norm(dictionary, axis=0)
    places = np.tile(np.arange(arguments.units), (arguments.samples, 1))
    used = random.permuted(places, axis=1) < arguments.active
    codes = used * random.uniform(1, 2, used.shape) * random.choice([-1, 1], used.shape)
    return codes @ dictionary.T + arguments.noise * random.normal(size=(arguments.samples, arguments.inputs)), dictionary


def measure(x, dictionary, row, seed, batch_size=100):
    """The cosine of each planted atom with the nearest learned one, the mean number of active units, and seconds."""
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
        ("units", 64, "atoms planted, and learned"),
        ("active", 3, "atoms in each input"),
        ("samples", 5000, "inputs"),
        ("seeds", 3, "runs of each"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default {default})")
    parser.add_argument("--noise", type=float, default=0.01, help="deviation of the noise (default 0.01)")
    arguments = parser.parse_args()
    print(f"{'':12}{'found':>9}{'worst run':>11}{'mean |cos|':>12}{'active':>8}{'seconds':>9}")
    for name, row in rows(arguments.inputs).items():
        runs = [measure(*planted(arguments, seed), row, seed) for seed in range(arguments.seeds)]
        found = [100 * (cosines > 0.95).mean() for cosines, _, _ in runs]
        cosine, active, seconds = (np.mean([np.mean(run[column]) for run in runs]) for column in range(3))
        print(f"{name:12}{np.mean(found):7.1f} %{min(found):9.1f} %{cosine:12.4f}{active:8.2f}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
