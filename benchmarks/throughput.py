"""Compares the speed of `keras-sae train` with a plain `fit`: `python benchmarks/throughput.py [--data-dir DIR]`.

In turn, the recipe mnist_dense_ksparse is trained for a few epochs by `train`, with logs, metrics of the code, the schedule
and checkpoints, and by Keras' `fit` on an array of the same images, with only the schedule. The first epoch of each run is not
timed, because TensorFlow traces the step in it. At the end, `tfds.benchmark` times the input pipeline alone; it needs pandas.
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow_datasets as tfds

from keras_sae.callbacks import KSchedule
from keras_sae.datasets import batches, load_arrays
from keras_sae.training import load_recipe, train


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch after the first, from the end of the one before it."""

    def on_train_begin(self, logs=None):
        self.seconds, self.last = [], None

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        if self.last is not None:
            self.seconds.append(now - self.last)
        self.last = now


def by_train(recipe, data_dir, **options):
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, Path(folder) / "run", data_dir, callbacks=[clock], verbose=1, **options)
    return clock.seconds


def by_fit(recipe, x):
    model = recipe.build(x.shape[1:])
    model.compile(model.optimizer, "mse")
    steps = -(-len(x) // recipe.batch_size)
    clock = Clock()
    schedule = KSchedule(recipe.k_schedule["start"], steps=recipe.k_schedule["epochs"] * steps)
    model.fit(x, batch_size=recipe.batch_size, epochs=recipe.epochs, callbacks=[schedule, clock], verbose=1)
    return clock.seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    parser.add_argument("--rounds", type=int, default=4, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs per run, at least 2 (default: %(default)s)")
    options = parser.parse_args()
    recipe = load_recipe("mnist_dense_ksparse", [f"epochs={options.epochs}"])
    images, _ = load_arrays("mnist", "train", options.data_dir)
    x = images.astype("float32") / 255
    ways = {
        "fit": lambda: by_fit(recipe, x),
        "train": lambda: by_train(recipe, options.data_dir),
        "train, 7 steps per execution": lambda: by_train(recipe, options.data_dir, steps_per_execution=7),
        "train, XLA": lambda: by_train(recipe, options.data_dir, jit_compile=True),
    }
    seconds = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            seconds[name].append(np.mean(way()))
    print(f"\n{'':30} {'s/epoch':>8} {'images/s':>9}  throughput relative to fit: median, range over {options.rounds} rounds")
    for name, times in seconds.items():
        ratios = np.divide(seconds["fit"], times)
        median = np.median(times)
        ratio = f"{np.median(ratios):.2f}  {ratios.min():.2f} to {ratios.max():.2f}"
        print(f"{name:30} {median:8.2f} {len(x) / median:9,.0f}  {ratio}")
    pipeline = batches(images, recipe.batch_size, seed=0).take(10 * -(-len(x) // recipe.batch_size))
    result = tfds.benchmark(pipeline, batch_size=recipe.batch_size)
    print(f"\nInput pipeline alone: {float(result.stats.loc['lasts', 'avg']):,.0f} images/s.")


if __name__ == "__main__":
    main()
