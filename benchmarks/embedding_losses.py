"""Compares the penalties that need the decoder on sentence embeddings, at equal steps and settings.

    python benchmarks/embedding_losses.py DIR/minilm.npz

DIR is a folder that `benchmarks/embeddings.py minilm` has filled. Models train on some texts of the split "train" and are
measured on 6,000 definitions of the split "validation", of which 2,000 are queries.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae.datasets import load_vectors
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder, start_from_samples
from keras_sae.regularizers import AuxiliaryK, Contrast, NestedPrefixes, SeveralK

K, KS, QUERIES = 32, (8, 32, 64), 2000


def losses(units, samples):
    """What is added to the reconstruction loss."""
    return {
        "plain": [],
        "AuxiliaryK": [AuxiliaryK(dead_after=samples, weight=1 / 32)],
        "SeveralK, L(k) + L(4k) / 8": [SeveralK(4 * K, weight=1 / 8)],
        "SeveralK, L(8) + L(32) + L(64)": [SeveralK([8, 64], weight=1.0)],
        "NestedPrefixes": [NestedPrefixes([units // 8, units // 4, units // 2])],
        "Contrast, weight 1e-4": [Contrast(weight=1e-4)],
        "Contrast, weight 1e-5": [Contrast(weight=1e-5)],
    }


def train(x, penalties, options):
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(x.shape[1], options.units, sparsity=[KSparse(K), *penalties], tied=True, center=True)
    model.adapt(x)
    start_from_samples(model, x, scaled=True)
    steps = options.epochs * -(-len(x) // options.batch)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - steps // 10, warmup_target=0.008, warmup_steps=steps // 10)
    model.compile(keras.optimizers.Adam(rate), "mse")
    started = time.process_time()
    model.fit(x, batch_size=options.batch, epochs=options.epochs, verbose=0)
    return model, (time.process_time() - started) / steps


def neighbours(queries, items):
    items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-9)
    scores = queries @ items.T
    scores[np.arange(len(queries)), np.arange(len(queries))] = -np.inf  # a query is the item of its row
    return np.argpartition(-scores, 10, axis=1)[:, :10]


def recall(found, wanted):
    return (found[:, :, None] == wanted[:, None, :]).any(axis=1).mean()


def measure(model, x):
    responses = keras.Model(model.encoder.inputs[0], model.encoder.get_layer("encode").output).predict(x, 1000, verbose=0)
    wanted = neighbours(x[:QUERIES], x)
    row = []
    for k in KS:
        codes = np.where(responses >= -np.partition(-responses, k - 1, axis=1)[:, k - 1 : k], responses, 0)
        restored = model.decoder.predict(codes, 1000, verbose=0)
        explained = 1 - np.square(x - restored).sum() / np.square(x - x.mean(axis=0)).sum()
        by_code = recall(neighbours(codes[:QUERIES], codes), wanted)
        row.append(f"{explained:.3f}, {recall(neighbours(x[:QUERIES], restored), wanted):.3f}, {by_code:.3f}")
        if k == K:
            dead = 100 * (codes == 0).all(axis=0).mean()
    return [*row, f"{dead:.1f} %"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors")
    for name, default in (("rows", 20_000), ("units", 1024), ("batch", 256), ("epochs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    x = load_vectors(options.vectors, "train")[0]
    x = np.array(x[np.sort(np.random.default_rng(0).choice(len(x), min(options.rows, len(x)), replace=False))])
    held_out = np.array(load_vectors(options.vectors, "validation")[0])
    print(f"{len(x):,} texts, {options.epochs} epochs of batches of {options.batch}, {options.units} units, k = {K}.")
    print("Explained variance, recall@10 by reconstructions, recall@10 by codes; units that no validation text excites.\n")
    print("| added to the loss | k = 8 | k = 32 | k = 64 | dead | CPU time of a step |\n|---|---|---|---|---|---|", flush=True)
    for name, penalties in losses(options.units, len(x)).items():
        model, seconds = train(x, penalties, options)
        print(f"| {' | '.join([name, *measure(model, held_out), f'{1000 * seconds:.0f} ms'])} |", flush=True)


if __name__ == "__main__":
    main()
