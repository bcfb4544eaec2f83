"""Published behaviour that no single preset shows, made again on the whole MNIST.

    python benchmarks/published.py self-taught | group [--data-dir DIR]

Each choice below was made before its test images were looked at, or on training images. Test images are used once, at the end.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae.datasets import load_arrays
from keras_sae.evaluation import encode, probe, support_overlap
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL, GroupL21

# The UFLDL tutorial charges 3 KL(0.1 || rate) beside half the squared error, summed over the 784 pixels.
UFLDL_KL = {"target": 0.1, "weight": 2 * 3 / 784}


def images(split, data_dir, digits=range(10)):
    x, y = load_arrays("mnist", split, data_dir)
    chosen = np.isin(y, list(digits))
    return x[chosen].astype("float32") / 255, y[chosen]


def self_taught(data_dir, epochs=60):
    """Features of the digits 5 to 9, a linear classifier of 0 to 4. Published: about 98 %, from raw pixels about 96 %."""
    unlabelled, _ = images("train", data_dir, range(5, 10))
    (x, y), (test_x, test_y) = images("train", data_dir, range(5)), images("test", data_dir, range(5))
    model = DenseAutoencoder((28, 28, 1), 200, ActivityKL(**UFLDL_KL), activation="sigmoid", output_activation="sigmoid")
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(unlabelled) // 128))
    # The decay was chosen on labelled training images that were held out.
    model.compile(keras.optimizers.Adam(rate, weight_decay=0.3), "mse")
    model.fit(unlabelled, batch_size=128, epochs=epochs, verbose=2)
    features = probe(encode(model, x), y, encode(model, test_x), test_y, validation=5000)
    pixels = probe(x, y, test_x, test_y, validation=5000)
    return {"accuracy of features": 100 - features["error"], "accuracy of raw pixels": 100 - pixels["error"]}


def group(data_dir, weight=6e-5):
    """Overlap of supports within a class and between classes, and a probe, with the group penalty and without."""
    (x, y), (test_x, test_y) = images("train", data_dir), images("test", data_dir)
    results = {}
    for charge in (0.0, weight):
        keras.utils.set_random_seed(0)
        model = DenseAutoencoder((28, 28, 1), 500, GroupL21(charge), unit_norm=True)
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        model.fit(x, y, batch_size=64, epochs=10, verbose=2)
        codes = encode(model, test_x)
        overlap = support_overlap(codes[:3000], test_y[:3000])
        results[f"weight {charge}"] = {
            **overlap,
            "ratio": overlap["within"] / overlap["between"],
            "mse": float(np.square(model.predict(test_x, batch_size=1000, verbose=0) - test_x).mean()),
            "l0": float((codes != 0).sum(axis=1).mean()),
            "probe error": probe(encode(model, x), y, codes, test_y, C=(0.03, 0.1, 0.3))["error"],
        }
    return results


EXPERIMENTS = {"self-taught": self_taught, "group": group}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--data-dir", help="folder of the TFDS data (default: TFDS_DATA_DIR)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    began = time.perf_counter()
    result = EXPERIMENTS[options.experiment](options.data_dir)
    for name, value in result.items():
        print(f"{name}: {value}")
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
