"""Reads encoders as a user does: `features.predict`, then scikit-learn's `LogisticRegression`, and compares with the cards.

    python benchmarks/scikit_learn_probe.py [PRESET ...] [--labels N ...] [--data-dir DIR]

Two classifiers for each encoder: scikit-learn's defaults (C = 1, no scaling), and the best C of a few, chosen on a fifth of the
labelled images. Nothing of the package's own probe is used. Labelled images are drawn at random, stratified by class.
"""

import argparse
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from keras_sae import presets
from keras_sae.datasets import load_arrays
from keras_sae.models import SparseAutoencoder

GRID = (0.01, 0.1, 1.0, 10.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="*", help="(default: all whose cards have a probe)")
    parser.add_argument("--labels", type=int, nargs="+", default=[1000, 20000], help="(default: 1000 20000)")
    parser.add_argument("--draws", type=int, default=3, help="draws of 1,000 labels or fewer (default: %(default)s)")
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")  # fits that stop after 200 iterations
    print("| preset | labels | C = 1 | C chosen | error with it | card | labels of the card |\n|---|---|---|---|---|---|---|")
    for name in options.preset or presets.names():
        metadata = presets.read_metadata(presets.find(name))
        figures = metadata["metrics"].get("probe")
        if not figures:
            continue
        data = (load_arrays(metadata["data"]["name"], split, options.data_dir) for split in ("train", "test"))
        (x, y), (test_x, test_y) = data
        features = SparseAutoencoder.from_preset(name).features
        of_test = rows(features, test_x)
        for labels in options.labels:
            draws = range(options.draws if labels <= 1000 else 1)
            errors = [of_draw(features, x, y, labels, draw, of_test, test_y) for draw in draws]
            default, chosen = np.mean([each[:2] for each in errors], axis=0)
            card = figures.get(f"labels_{labels}", figures)
            low, high = card["interval"]
            kinds = f"{labels:,}" if card is not figures else f"{len(x):,}"
            values = ", ".join(sorted({f"{each[2]:g}" for each in errors}, key=float))
            text = f"{default:.2f} % | {values} | {chosen:.2f} % | {card['error']:.2f} % ({low:.2f} to {high:.2f}) | {kinds}"
            print(f"| {name} | {labels:,} | {text} |", flush=True)


def of_draw(features, x, y, labels, draw, of_test, test_y):
    """Test errors in percent with C = 1 and with the chosen C, and that C."""
    drawn, _ = train_test_split(np.arange(len(x)), train_size=labels, stratify=y, random_state=draw)
    codes, classes = rows(features, x[drawn]), y[drawn]
    fitted = codes[labels // 5 :], classes[labels // 5 :]
    held_out = codes[: labels // 5], classes[: labels // 5]
    chosen = max(GRID, key=lambda C: fit(*fitted, C).score(*held_out))
    default, best = (100 * (1 - fit(codes, classes, C).score(of_test, test_y)) for C in (1.0, chosen))
    return default, best, chosen


def rows(features, images):
    codes = features.predict(images.astype("float32") / 255, batch_size=256, verbose=0)
    return codes.reshape(len(codes), -1)


def fit(codes, classes, C):
    return LogisticRegression(C=C, max_iter=200).fit(codes, classes)


if __name__ == "__main__":
    main()
