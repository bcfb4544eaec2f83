"""Trains a sparse autoencoder on whitened patches of natural photographs, and counts the units that became oriented edges.

    python benchmarks/natural_patches.py

As in Ng's lecture notes ("Sparse autoencoder", CS294A, 2011): 8 x 8 patches, sigmoid units, their rates held at a low
target by a KL divergence. Otherwise than there, the decoder is tied, the output linear and the optimizer Adam. Each unit's
feature, the input of norm 1 that excites it most, is its column of the encoder's kernel; the decoder, being tied, draws
the same. The features of PCA, noise and single pixels are fitted beside them: what a fit explains of those is flattery.
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
        # Small, since what the kernel holds at first and no patch shows would stay in the features.
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
    )
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * len(x) // BATCH)
    optimizer = keras.optimizers.Adam(schedule, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias"])  # a bias near 0 would hold the rates near a half
    model.compile(optimizer, "mse")
    model.fit(x, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def report(name, features, rest=""):
    fit = gabor_fit(features)
    explained = fit["explained"]
    print(
        f"{name:20} {len(explained):7} {fit['well_fitted'].mean():12.0%} {(explained >= 0.8).mean():15.0%} "
        f"{np.percentile(explained, 10):13.2f} {np.median(explained):8.2f} {rest}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--pictures", default=".", help="directory for a picture of the features of each seed")
    options = parser.parse_args()
    train_x, test_x = (load_arrays("patches", split)[0] for split in ("train", "test"))
    variance = test_x.var()
    print("                       units  well fitted  80 % explained  10th percent   median  left of test patches  seconds")
    for seed in options.seeds:
        began = time.perf_counter()
        model = train(train_x, seed, options.epochs)
        seconds = time.perf_counter() - began
        left = code_statistics(model, test_x)["reconstruction_error"] / variance
        report(f"ActivityKL, seed {seed}", decoder_features(model), f"{left:22.0%} {seconds:8.0f}")
        picture = f"{options.pictures}/natural_patches_{seed}.png"
        plot_features(model).savefig(picture, dpi=150)
    components = np.linalg.svd(train_x.reshape(len(train_x), -1), full_matrices=False)[2]
    flat = test_x.reshape(len(test_x), -1)
    left = 1 - ((flat @ components[:UNITS].T) ** 2).mean() * UNITS / (64 * variance)
    report("PCA", components[:UNITS].reshape(-1, *SHAPE), f"{left:22.0%}")
    report("Gaussian noise", np.random.default_rng(0).normal(size=(UNITS, *SHAPE)))
    report("single pixels", np.eye(UNITS, 64).reshape(-1, *SHAPE))


if __name__ == "__main__":
    main()
