"""Trains a sparse autoencoder on whitened patches of natural photographs, and counts the units that become oriented edges.

    python benchmarks/natural_patches.py

The setting follows Ng's lecture notes ("Sparse autoencoder", CS294A, 2011): patches of 8 x 8 pixels, sigmoid units, and a KL
divergence that holds their rates at a low target. Here, the decoder is tied, the output linear and the optimizer Adam. The
feature of a unit is the input of norm 1 that excites it most: its column of the kernel. The script fits a Gabor function to
each feature. For comparison, it also fits PCA components, noise and single pixels, which are not edges.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae.datasets import load_arrays
from keras_sae.evaluation import code_statistics, gabor_fit
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL
from keras_sae.visualization import decoder_features, plot_features

SHAPE = (8, 8)
UNITS = 36
TARGET = 0.02
WEIGHT = 0.25
LEARNING_RATE = 0.02
WEIGHT_DECAY = 0.3
BATCH = 500


def train(x, seed, epochs):
    keras.utils.set_random_seed(seed)
    model = DenseAutoencoder(
        x.shape[1:],
        UNITS,
        sparsity=ActivityKL(TARGET, WEIGHT),
        tied=True,
        # Small, because training does not change directions that no patch has, and they would stay in the features.
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
    )
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * len(x) // BATCH)
    optimizer = keras.optimizers.Adam(schedule, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias"])  # biases near 0 would keep the rates near 0.5
    model.compile(optimizer, "mse")
    model.fit(x, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def report(name, features, rest=""):
    """Prints a row of the table: how well Gabor functions fit the features."""
    fit = gabor_fit(features)
    explained = fit["explained"]
    print(
        f"{name:20} {len(explained):7} {fit['well_fitted'].mean():12.0%} {(explained >= 0.8).mean():15.0%} "
        f"{np.percentile(explained, 10):13.2f} {np.median(explained):8.2f} {rest}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one run for each (default: 0 1)")
    parser.add_argument("--pictures", default=".", help="folder for a picture of the features of each seed (default: .)")
    options = parser.parse_args()
    train_x, test_x = (load_arrays("patches", split)[0] for split in ("train", "test"))
    variance = test_x.var()
    print("                       units  well fitted  80 % explained  10th percent   median  unexplained variance  seconds")
    for seed in options.seeds:
        began = time.perf_counter()
        model = train(train_x, seed, options.epochs)
        seconds = time.perf_counter() - began
        error = code_statistics(model, test_x)["reconstruction_error"] / variance
        report(f"ActivityKL, seed {seed}", decoder_features(model), f"{error:22.0%} {seconds:8.0f}")
        picture = f"{options.pictures}/natural_patches_{seed}.png"
        plot_features(model).savefig(picture, dpi=150)
    components = np.linalg.svd(train_x.reshape(len(train_x), -1), full_matrices=False)[2]
    flat = test_x.reshape(len(test_x), -1)
    error = 1 - ((flat @ components[:UNITS].T) ** 2).mean() * UNITS / (64 * variance)
    report("PCA", components[:UNITS].reshape(-1, *SHAPE), f"{error:22.0%}")
    report("Gaussian noise", np.random.default_rng(0).normal(size=(UNITS, *SHAPE)))
    report("single pixels", np.eye(UNITS, 64).reshape(-1, *SHAPE))


if __name__ == "__main__":
    main()
