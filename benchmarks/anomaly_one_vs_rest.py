"""Measures anomaly detection of one class against the rest: `python benchmarks/anomaly_one_vs_rest.py mnist --data-dir DIR`.

For each class and seed, a k-sparse autoencoder is trained on images of this class alone, and a detector with the score
"relative" is calibrated on a fifth of them. The script prints the mean AUROC, average precision, and the false-positive rate
at the threshold. With `--baselines`, it also prints the AUROC of detectors of scikit-learn that learn from the same images.
"""

import argparse
import json

import keras
import numpy as np

from keras_sae.datasets import load_arrays
from keras_sae.evaluation import anomaly, auroc, outlier_detectors
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("mnist", "fashion_mnist", "cifar10"))
    parser.add_argument("--data-dir")
    parser.add_argument("--score", default="relative")
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.05, help="false-positive rate to calibrate for")
    parser.add_argument("--baselines", action="store_true")
    options = parser.parse_args()
    train, test = (load_arrays(options.data, split, options.data_dir) for split in ("train", "test"))

    def build():
        model = DenseAutoencoder(train[0].shape[1:], options.units, sparsity=KSparse(options.k), tied=True)
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        return model

    figures = anomaly(
        build,
        train,
        test,
        epochs=options.epochs,
        batch_size=64,
        score=options.score,
        seeds=options.seeds,
        false_positive_rate=options.rate,
        report=lambda sentence: print(sentence, flush=True),
    )
    print(json.dumps(figures))
    if options.baselines:
        areas = {}
        for label in np.unique(train[1]):
            for name, scores_of in outlier_detectors(train[0][train[1] == label]).items():
                areas.setdefault(name, []).append(auroc(test[1] != label, scores_of(test[0])))
        for name, values in areas.items():
            print(f"{name:20} {100 * np.mean(values):.2f}")


if __name__ == "__main__":
    main()
