"""A sample of Fashion-MNIST that the package ships: 2,000 training and 1,000 test images, evenly over the ten classes.

It is stored as `save_arrays` stores data sets, which needs no TensorFlow to be read. The sample was drawn with

    python -m keras_sae.datasets._fashion_mnist_sample FILE.npz

which takes the first images of each class, in the order of Fashion-MNIST's files. Fashion-MNIST is (c) 2017 Zalando SE,
under the MIT licence, which lies beside this file.
"""

import sys
from pathlib import Path

import numpy as np

SAMPLE = "fashion_mnist_sample"
FILE = Path(__file__).resolve().parent / f"{SAMPLE}.npz"
COUNTS = {"train": 2000, "test": 1000}


def draw(file):
    """Writes the sample, from the whole Fashion-MNIST that TFDS finds."""
    from keras_sae.datasets._load import load_arrays

    arrays = {}
    for split, count in COUNTS.items():
        images, labels = load_arrays("fashion_mnist", split)
        first = np.concatenate([np.flatnonzero(labels == label)[: count // 10] for label in range(10)])
        first.sort()
        arrays.update({f"{split}_image": images[first], f"{split}_label": labels[first]})
    np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    draw(sys.argv[1])
