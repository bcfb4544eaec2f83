"""Measures whether thresholds hold on fresh normal data: `python benchmarks/false_positive_rate.py --data-dir DIR`.

`mnist_dense_detector` and `fashion_mnist_dense_detector` were trained on the first 50,000 images. The other 20,000,
10,000 training images and the test images, are calibrated on and measured on in two ways:

official: calibrated on the training images, measured on the test images. Test images need not be like training images.
random: calibrated on a random half, measured on the other. This is what a threshold promises: new data that comes as the normal
    data did. The script prints the rate of the first split, and the mean and the range of 95 % of all splits.

All rates are in percent. It exits with status 1 if the first random split is more than 0.5 points off.
"""

import argparse
import math
import sys

import numpy as np

from keras_sae.anomaly import AnomalyDetector
from keras_sae.datasets import load_arrays

SCORES = ("reconstruction", "relative", "patch", "combined")
RATES = (0.01, 0.05)
ALLOWED = 0.5  # points


def rate_of(normal, fresh, rate):
    """The share of fresh scores above the threshold of `AnomalyDetector.calibrate`, in percent."""
    threshold = np.sort(normal)[-math.floor(rate * (len(normal) + 1))]
    return 100 * np.mean(fresh > threshold)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--splits", type=int, default=500)
    options = parser.parse_args()
    halves = [np.random.default_rng(seed).permutation(20000) for seed in range(options.splits)]
    reached = True
    print("| data | score | asked | official | random, first split | random, mean | 95 % of splits |")
    print("|---|---|---|---|---|---|---|")
    for data in ("mnist", "fashion_mnist"):
        model = AnomalyDetector.from_preset(f"{data}_dense_detector").model
        train, rest, test = (
            load_arrays(data, part, options.data_dir)[0] for part in ("train[:50000]", "train[50000:]", "test")
        )
        unseen = np.concatenate([rest, test])
        for score in SCORES:
            for rate in RATES:
                first = AnomalyDetector(model, score).calibrate(unseen[halves[0][:10000]], rate, training=train)
                flagged = 100 * first.is_anomalous(unseen[halves[0][10000:]]).mean()
                scores = first.score_samples(unseen)
                official = rate_of(scores[:10000], scores[10000:], rate)
                rates = [rate_of(scores[half[:10000]], scores[half[10000:]], rate) for half in halves]
                low, high = np.quantile(rates, (0.025, 0.975))
                reached = reached and abs(flagged - 100 * rate) <= ALLOWED
                cells = data, score, f"{100 * rate:g}", *(f"{each:.2f}" for each in (official, flagged, np.mean(rates)))
                print(f"| {' | '.join(cells)} | {low:.2f} to {high:.2f} |", flush=True)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
