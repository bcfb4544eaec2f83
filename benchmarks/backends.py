"""Times the entries of a k-sparse code against dense codes on any backend: `KERAS_BACKEND=torch python benchmarks/backends.py`.

Both models are in one process and take turns, in `fit` and in `evaluate`, so that other work slows both. It prints a Markdown
table of medians: milliseconds for one batch, those of the processor summed over threads, and their ratios.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder

SIZES = ["784x1000x25x1024", "768x2048x32x1024", "384x4096x32x1024", "768x16384x32x1024", "768x16384x32x64"]
BATCHES = 4  # of one call


def make(inputs, units, k, sparse):
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(inputs, units, sparsity=KSparse(k))
    model.sparse_path = sparse
    model.compile("adam", "mse")
    return model


def seconds(call):
    started = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def measure(size, rounds):
    """Milliseconds of a batch, by the clock and of the processor: arrays of shape `(rounds, 2)` by (call, sparse)."""
    inputs, units, k, batch = map(int, size.split("x"))
    x = np.random.default_rng(0).normal(size=(BATCHES * batch, inputs)).astype("float32")
    models = {sparse: make(inputs, units, k, sparse) for sparse in (True, False)}
    times = {}
    for number in range(rounds + 1):  # the first one compiles
        for sparse, model in models.items():
            calls = {
                "fit": lambda model=model: model.fit(x, batch_size=batch, verbose=0),
                "evaluate": lambda model=model: model.evaluate(x, batch_size=batch, verbose=0),
            }
            for name, call in calls.items():
                taken = seconds(call)
                if number:
                    times.setdefault((name, sparse), []).append(taken)
    return {way: 1000 / BATCHES * np.array(taken) for way, taken in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="inputs x units x k x batch")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"Keras {keras.version()} on {keras.backend.backend()}\n")
    print("| inputs x units, k, batch | call | entries, ms | dense, ms | ratio | processor, ms | dense, ms | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        times = measure(size, options.rounds)
        inputs, units, k, batch = size.split("x")
        for call in ("fit", "evaluate"):
            entries, dense = times[call, True], times[call, False]
            cells = [
                f"{np.median(entries[:, i]):.0f} | {np.median(dense[:, i]):.0f} | {np.median(entries[:, i] / dense[:, i]):.2f}"
                for i in range(2)
            ]
            print(f"| {inputs} x {units}, {k}, {batch} | {call} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
