"""What subtracting the mean of the data changes: every mechanism, with and without, on dark and on bright images.

    python benchmarks/centring.py [--data-dir DIR] [--train 2000] [--epochs 15]

Prints a table in Markdown: the share of the variance of test images that is explained (R², 0 for the mean image), units that
are active on no test image, and the accuracy of a linear classifier on codes where there are labels. The sample of
Fashion-MNIST is shipped; MNIST and CIFAR-10 are read with TensorFlow Datasets, and left out where they are missing.
"""

import argparse

import keras
import numpy as np

from keras_sae import evaluation
from keras_sae.datasets import load_arrays
from keras_sae.layers import BatchKSparse, KSparse, WinnerTakeAll
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, SparseCodingAutoencoder
from keras_sae.regularizers import ActivityKL

L1 = keras.regularizers.L1
UNITS, MAPS = 128, 32


def dense(sparsity, **arguments):
    return lambda shape, center: DenseAutoencoder(shape, UNITS, sparsity(), tied=True, center=center, **arguments)


def conv(sparsity, **arguments):
    return lambda shape, center: ConvolutionalAutoencoder(shape, [MAPS, MAPS], sparsity(), center=center, **arguments)


MODELS = {
    "KSparse(8)": dense(lambda: KSparse(8)),
    "KSparse(8), untied": lambda shape, center: DenseAutoencoder(shape, UNITS, KSparse(8), center=center),
    "KSparse(8), sigmoid output": dense(lambda: KSparse(8), output_activation="sigmoid"),
    "BatchKSparse(8)": dense(lambda: BatchKSparse(8)),
    "WinnerTakeAll(lifetime=0.05)": dense(lambda: WinnerTakeAll(lifetime=0.05)),
    "convolutional KSparse(3)": conv(lambda: KSparse(3, across="units")),
    "convolutional WinnerTakeAll(spatial=True)": conv(
        lambda: WinnerTakeAll(spatial=True, lifetime=None), strides=1, decoder_kernel_size=11
    ),
    "ActivityKL": dense(lambda: ActivityKL(0.05, weight=0.003)),
    "L1": dense(lambda: L1(1e-4)),
    "sparse coding, L1": lambda shape, center: SparseCodingAutoencoder(shape, UNITS, L1(1e-4), steps=20, center=center),
    "no mechanism": dense(lambda: None),
}


def bright(count, seed):
    """Bright colour pictures of noise with one dark rectangle."""
    random = np.random.default_rng(seed)
    x = np.full((count, 24, 24, 3), 0.85, "float32") + random.normal(0, 0.02, (count, 24, 24, 3)).astype("float32")
    for image in x:
        top, left = random.integers(3, 14, 2)
        image[top : top + 7, left : left + 7] = random.uniform(0, 0.6, 3)
    return x


def data_sets(count, data_dir):
    """Pairs of a name and the training and test pairs `(images, labels)`."""
    for name in ("fashion_mnist_sample", "mnist", "cifar10"):
        try:
            pairs = [load_arrays(name, f"{split}[:{size}]", data_dir) for split, size in (("train", count), ("test", 1000))]
        except (FileNotFoundError, ValueError) as error:
            print(f"Left out: {name} ({str(error).splitlines()[0]})")
            continue
        yield name, *((evaluation.as_input(images), labels) for images, labels in pairs)
    yield "bright pictures", (bright(count, 0), None), (bright(1000, 1), None)


def measure(make, center, train, test, epochs):
    """R² and dead units on test images, and the accuracy of a probe in percent, or None."""
    keras.utils.set_random_seed(0)
    model = make(train[0].shape[1:], center)
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    model.fit(train[0], epochs=epochs, batch_size=64, verbose=0)
    statistics = evaluation.code_statistics(model, test[0])
    explained = 1 - statistics["reconstruction_error"] / np.mean(np.square(test[0] - train[0].mean(axis=0)))
    accuracy = None
    if train[1] is not None and len(model.encoder.output_shape) == 2:
        codes = (evaluation.encode(model, images) for images, _ in (train, test))
        (x, y), (test_x, test_y) = zip(codes, (train[1], test[1]), strict=True)
        accuracy = 100 - evaluation.probe(x, y, test_x, test_y, validation=len(y) // 4, C=(0.1,), iterations=60)["error"]
    return explained, statistics["dead_units"], statistics["units"], accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--train", type=int, default=2000, help="training images")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--only", default="", help="only models whose name has this in it")
    options = parser.parse_args()
    print("| data | model | R² as it is | R² centred | dead as it is | dead centred | probe as it is | probe centred |")
    print("|---|---|---|---|---|---|---|---|")
    for name, train, test in data_sets(options.train, options.data_dir):
        for title, make in MODELS.items():
            if options.only in title:
                off, on = (measure(make, center, train, test, options.epochs) for center in (False, True))
                probes = ("" if each[3] is None else f"{each[3]:.1f} %" for each in (off, on))
                print(
                    f"| {name} | {title} | {off[0]:.2f} | {on[0]:.2f} | {off[1]} of {off[2]} | {on[1]} of {on[2]} | "
                    f"{' | '.join(probes)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
