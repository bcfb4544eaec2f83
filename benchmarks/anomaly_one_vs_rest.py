"""Measures anomaly detection of one class against the rest: `python benchmarks/anomaly_one_vs_rest.py mnist --data-dir DIR`.

For each class and seed, a k-sparse autoencoder is trained on images of this class alone. It reads their square roots, averaged
over patches of 4 x 4 pixels at every second pixel. A detector is calibrated on a fifth of the images, which the model does not
see. The script prints the mean AUROC, average precision, and the false-positive rate at the threshold, in percent.

The settings for MNIST and Fashion-MNIST were chosen on the last 10,000 training images, on which `--validate` measures. Those
for CIFAR-10 are the same as for Fashion-MNIST. With `--baselines`, the script prints the AUROC of detectors of scikit-learn
instead, on images as they are and preprocessed in the same way. With `--output FILE`, each finished seed is written there, and
the same command continues after the last one.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

from keras_sae.datasets import load_arrays
from keras_sae.evaluation import anomaly, auroc, outlier_detectors
from keras_sae.layers import KSparse, SquareRoot
from keras_sae.models import DenseAutoencoder

# Score, units and active units.
SETTINGS = {"mnist": ("relative", 500, 6), "fashion_mnist": ("reconstruction", 500, 12), "cifar10": ("reconstruction", 500, 12)}
HELD_OUT = 10000  # training images to validate on


def preprocessing(shape):
    """Square roots, then means over patches of 4 x 4 pixels at every second pixel."""
    return [keras.layers.Reshape(shape), SquareRoot(), keras.layers.AveragePooling2D(4, strides=2, padding="same")]


def measure(seed, train, test, options):
    """The figures of one seed."""
    shape = train[0].shape[1:]

    def build():
        model = DenseAutoencoder(
            shape, options.units, KSparse(options.k), tied=True, center=True, preprocessing=preprocessing(shape)
        )
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        return model

    return anomaly(
        build,
        train,
        test,
        epochs=options.epochs,
        batch_size=64,
        seed=seed,
        score=options.score,
        false_positive_rate=options.rate,
        report=lambda sentence: print(sentence, flush=True),
    )


def print_baselines(train, test):
    """Mean AUROC of detectors of scikit-learn, by detector."""
    preprocessed = keras.Sequential([keras.Input(train[0].shape[1:]), *preprocessing(train[0].shape[1:])])

    def read(images):
        return preprocessed.predict(images.astype("float32") / 255, batch_size=1000, verbose=0)

    for what, (x, of_test) in {"pixels": (train[0], test[0]), "preprocessed": (read(train[0]), read(test[0]))}.items():
        areas = {}
        for label in np.unique(train[1]):
            for name, scores_of in outlier_detectors(x[train[1] == label]).items():
                areas.setdefault(name, []).append(100 * auroc(test[1] != label, scores_of(of_test)))
        for name, values in areas.items():
            print(f"{what:12}  {name:18}  {np.mean(values):.2f}   {' '.join(f'{value:.1f}' for value in values)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=tuple(SETTINGS))
    parser.add_argument("--data-dir")
    parser.add_argument("--score", help="default: see SETTINGS")
    parser.add_argument("--units", type=int, help="default: see SETTINGS")
    parser.add_argument("--k", type=int, help="default: see SETTINGS")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.05, help="false-positive rate to calibrate for")
    parser.add_argument("--validate", action="store_true", help="measure on the last 10,000 training images")
    parser.add_argument("--baselines", action="store_true", help="measure detectors of scikit-learn instead")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="with --baselines, read every Nth image")
    parser.add_argument("--output", type=Path, help="JSON file of finished seeds")
    options = parser.parse_args()
    for name, value in zip(("score", "units", "k"), SETTINGS[options.data], strict=True):
        setattr(options, name, getattr(options, name) or value)
    train = load_arrays(options.data, "train", options.data_dir)
    if options.validate:
        train, test = (tuple(each[part] for each in train) for part in (slice(-HELD_OUT), slice(-HELD_OUT, None)))
    else:
        test = load_arrays(options.data, "test", options.data_dir)
    if options.baselines:
        print_baselines(*(tuple(array[:: options.every] for array in data) for data in (train, test)))
        return
    made = {
        name: value
        for name, value in vars(options).items()
        if name not in ("data_dir", "seeds", "baselines", "every", "output")
    }
    done = (
        json.loads(options.output.read_text()) if options.output and options.output.exists() else {"options": made, "seeds": {}}
    )
    if done["options"] != made:
        parser.error(f"{options.output} was written with other options: {done['options']}. Choose another file.")
    for seed in map(str, range(options.seeds)):
        if seed not in done["seeds"]:
            done["seeds"][seed] = measure(int(seed), train, test, options)
            if options.output:
                options.output.write_text(json.dumps(done))
    found = list(done["seeds"].values())[: options.seeds]
    classes = {label: np.mean([each["classes"][label] for each in found]) for label in found[0]["classes"]}
    print(f"score {options.score}, {options.units} units, {options.k} active, {options.epochs} epochs")
    print("by class             ", "  ".join(f"{label}: {area:.1f}" for label, area in classes.items()))
    print(
        "AUROC by seed        ",
        "  ".join(f"{each['auroc']:.2f} ({each['interval'][0]:.2f} to {each['interval'][1]:.2f})" for each in found),
    )
    for name in ("auroc", "average_precision", "false_positive_rate"):
        print(f"{name:20}  {np.mean([each[name] for each in found]):.2f}")


if __name__ == "__main__":
    main()
