"""Draws the sample of Fashion-MNIST that the package ships: `python benchmarks/draw_sample.py FILE.npz`.

The sample has 2,000 training and 1,000 test images: of each class the same number, the first in the files of Fashion-MNIST.
TensorFlow Datasets must find the full Fashion-MNIST; set `TFDS_DATA_DIR` or `--data-dir`.
"""

import argparse
from pathlib import Path

import numpy as np

from keras_sae.datasets import load_arrays

COUNTS = {"train": 2000, "test": 1000}


def draw(data_dir=None):
    """The arrays of the sample, by their names in the file."""
    arrays = {}
    for split, count in COUNTS.items():
        images, labels = load_arrays("fashion_mnist", split, data_dir)
        first = np.concatenate([np.flatnonzero(labels == label)[: count // 10] for label in range(10)])
        first.sort()
        arrays |= {f"{split}_image": images[first], f"{split}_label": labels[first]}
    return arrays


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the file to write")
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    options = parser.parse_args()
    np.savez_compressed(options.file, **draw(options.data_dir))
