"""Sparse codes of image embeddings: the label of the nearest neighbour against the number of active units.

    python benchmarks/image_features.py DIR
    python benchmarks/image_codes.py DIR --choose      # two learning rates, on validation images
    python benchmarks/image_codes.py DIR               # the chosen one, on test images

The second command prints, for two learning rates, the explained variance and the 1-NN accuracy among validation images. The
third trains with the rate below and prints figures of the suite `retrieval` among test images. Neither searches images that the
model was trained on. Product quantisation needs `pip install "keras_sae[search]"`.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np

from keras_sae.datasets import load_vectors
from keras_sae.evaluation import retrieval
from keras_sae.evaluation._neighbours import scores_of, unit_rows
from keras_sae.evaluation._stored_codes import StoredCodes
from keras_sae.layers import KSparse
from keras_sae.metrics import ExplainedVariance
from keras_sae.models import DenseAutoencoder, start_from_samples

UNITS, K, FEWER = 512, 32, [8, 16]
EPOCHS, BATCH_SIZE = 10, 500
RATE = 0.003  # by `--choose`
NAMES = {
    "code": "sparse code",
    "reconstruction": "reconstruction of the code",
    "pca_float16": "PCA, float16",
    "pca_int8": "PCA, int8",
    "product_quantisation": "product quantisation",
    "random_signs": "signs of random projections",
    "random_projection": "random projections, float16",
}


def trained(vectors, rate, seed=0):
    """A k-sparse autoencoder of the vectors, with tied weights."""
    keras.utils.set_random_seed(seed)
    model = DenseAutoencoder(vectors.shape[1], UNITS, sparsity=KSparse(K), tied=True)
    model.adapt(vectors)
    start_from_samples(model, vectors)
    steps = EPOCHS * -(-len(vectors) // BATCH_SIZE)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    model.compile(optimizer, "mse", metrics=[ExplainedVariance()])
    model.fit(vectors, epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0)
    return model


def accuracy(codes, labels):
    """How often the nearest other code, by cosine, has the same label."""
    rows = unit_rows(codes)
    found = [scores.argmax(axis=1) for scores, _ in scores_of(rows, rows, np.arange(len(labels)))]
    return (labels[np.concatenate(found)] == labels).mean()


def choose(train, held_out):
    vectors, labels = held_out
    print("| learning rate | explained variance | 1-NN accuracy, k = 8 | 16 | 32 |\n|---|---|---|---|---|")
    for rate in (1e-3, 3e-3):
        model = trained(train[0], rate)
        variance = model.evaluate(vectors, verbose=0, return_dict=True)["explained_variance"]
        codes = StoredCodes(model, FEWER)(vectors)
        accuracies = " | ".join(f"{accuracy(codes[key], labels):.3f}" for key in ("k_8", "k_16", ""))
        print(f"| {rate} | {variance:.3f} | {accuracies} |", flush=True)
    print(f"\nThe vectors themselves: {accuracy(vectors, labels):.3f}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder of efficientnet.npz")
    parser.add_argument("--choose", action="store_true", help="compare learning rates on validation images")
    options = parser.parse_args()
    file = options.directory / "efficientnet.npz"
    train, validation, test = (load_vectors(file, split) for split in ("train", "validation", "test"))
    if options.choose:
        choose(train, validation)
        return
    start = time.perf_counter()
    model = trained(train[0], RATE)
    variance = model.evaluate(test[0], verbose=0, return_dict=True)["explained_variance"]
    seconds = time.perf_counter() - start
    print(f"{model.count_params():,} parameters, trained in {seconds:.0f} s. Explained variance: {variance:.3f}.")
    show(retrieval(model, train, test, k=FEWER, neighbours=[10]))


def show(figures):
    groups = [*(figures[f"k_{k}"] for k in FEWER), figures]
    sizes = [f"{group['code']['bytes']:.0f} bytes" for group in groups]
    print(
        "| stored as |",
        " | ".join([*(f"1-NN accuracy, {size}" for size in sizes), *(f"recall@10, {size}" for size in sizes)]),
        "|",
    )
    print("|---" * (1 + 2 * len(groups)) + "|")
    for way, words in NAMES.items():
        if way in figures:
            cells = [f"{group[way][key]:.3f}" for key in ("accuracy", "recall_10") for group in groups]
            print(f"| {words} |", " | ".join(cells), "|")
    dense, signs = figures["dense"], figures["signs"]
    print(f"\nThe vectors themselves, {dense['bytes']} bytes: accuracy {dense['accuracy']:.3f}.", end=" ")
    print(f"Their signs, {signs['bytes']} bytes: {signs['accuracy']:.3f}, recall {signs['recall_10']:.3f}.")


if __name__ == "__main__":
    main()
