"""Reads dictionaries of patches as features for a linear classifier: k-sparse, random patches and k-means, of one size.

    python benchmarks/patch_dictionaries.py --data cifar10 --units 1024 --grid 3 --flips --output DIR [--data-dir DIR]

Each dictionary reads whitened patches at every position: soft threshold, both signs, mean over the cells of a grid, square
root. The classifier is least squares on one-hot labels with an L2 penalty, from sums over blocks of images, so memory does not
grow with their number. The penalty is chosen on the last tenth of the training images; then all of them are used. With
`--flips`, features are averaged over an image and its mirror image. A run that was stopped continues: features are kept in
`--output`.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from keras_sae.datasets import load_arrays, random_patches
from keras_sae.layers import ContrastNormalization, KSparse, Patches, ZCAWhitening
from keras_sae.models import ConvolutionalAutoencoder, start_from_samples

DICTIONARIES = ("ksparse", "random", "kmeans")
PENALTIES = (0.003, 0.01, 0.03, 0.1)
BLOCK = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--dictionary", nargs="+", default=DICTIONARIES, choices=DICTIONARIES)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--patch", type=int, default=6, help="height and width of a patch")
    parser.add_argument("--offset", type=float, default=10 / 255**2, help="of the contrast normalisation")
    parser.add_argument("--k", type=int, default=1, help="active units of a patch while the k-sparse dictionary learns")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--patches", type=int, default=200_000)
    parser.add_argument("--threshold", type=float, default=0.38)
    parser.add_argument("--grid", type=int, default=3)
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--images", type=int, nargs=2, help="numbers of training and test images to use (default: all)")
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    train, test = (load_arrays(arguments.data, split, arguments.data_dir) for split in ("train", "test"))
    if arguments.images:
        train, test = ([part[:n] for part in pair] for pair, n in zip((train, test), arguments.images, strict=True))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.dictionary:
        kernel, model = dictionary(name, train[0], arguments)
        features = [
            read(images, model, kernel, arguments, arguments.output / f"{name}_{split}.npy")
            for split, (images, _) in (("train", train), ("test", test))
        ]
        error, penalty = least_squares(*features, train[1], test[1])
        print(f"{name:8} {features[0].shape[1]} features: test error {error:.2f} % (penalty {penalty})", flush=True)


def dictionary(name, images, arguments):
    """Units `(entries, units)` of norm 1, and the model whose preprocessing they read."""
    keras.utils.set_random_seed(0)
    model = ConvolutionalAutoencoder(
        (None, None, images.shape[-1]),
        arguments.units,
        KSparse(arguments.k, select_by="magnitude"),
        kernel_size=1,
        strides=1,
        tied=True,
        unit_norm=True,
        preprocessing=[Patches(arguments.patch), ContrastNormalization(arguments.offset), ZCAWhitening(0.1)],
    )
    patches = random_patches(images, arguments.patch, arguments.patches)
    model.adapt(patches)
    start_from_samples(model, patches)
    if name == "ksparse":
        steps = arguments.epochs * -(-len(patches) // 256)
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)), "mse")
        model.fit(patches, batch_size=256, epochs=arguments.epochs, verbose=2)
    kernel = keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel)[0, 0]
    if name == "kmeans":
        kernel = spherical_kmeans(np.asarray(model.preprocessing.predict(patches, 4096, verbose=0))[:, 0, 0], kernel)
    return kernel / np.linalg.norm(kernel, axis=0), model


def spherical_kmeans(rows, units, steps=10):
    """Gain-shape k-means: each row belongs to the unit with the largest response by size, whatever its sign."""
    for _ in range(steps):
        sums = np.zeros_like(units.T)
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            responses = part @ units
            nearest = np.abs(responses).argmax(axis=1)
            np.add.at(sums, nearest, part * responses[np.arange(len(part)), nearest][:, None])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        units = np.where(norms > 1e-6, sums / np.maximum(norms, 1e-6), units.T).T
    return units


def read(images, model, kernel, arguments, path):
    """The features of images, float16 in a file, block by block."""
    done = path.with_suffix(".done")
    width = arguments.grid**2 * 2 * arguments.units
    mode = "r+" if path.exists() else "w+"
    features = np.lib.format.open_memmap(path, mode, np.float16, None if mode == "r+" else (len(images), width))
    first = int(done.read_text()) if done.exists() else 0
    for start in range(first, len(images), BLOCK):
        block = images[start : start + BLOCK]
        values = of_block(block, model, kernel, arguments)
        if arguments.flips:
            values = (values + of_block(block[:, :, ::-1], model, kernel, arguments)) / 2
        features[start : start + BLOCK] = np.sqrt(values)
        features.flush()
        done.write_text(str(start + len(block)))
    return features


def of_block(images, model, kernel, arguments):
    values = np.empty((len(images), arguments.grid**2, 2 * arguments.units), "float32")
    for start in range(0, len(images), 20):
        white = keras.ops.convert_to_numpy(model.preprocessing(images[start : start + 20].astype("float32") / 255))
        for index, positions in enumerate(white, start):  # one image at a time stays in the cache
            responses = (positions.reshape(-1, positions.shape[-1]) @ kernel).reshape(*positions.shape[:2], -1)
            edges = [cell * len(responses) // arguments.grid for cell in range(arguments.grid + 1)]
            cells = [
                (slice(*edges[i : i + 2]), slice(*edges[j : j + 2]))
                for i in range(arguments.grid)
                for j in range(arguments.grid)
            ]
            for number, cell in enumerate(cells):
                inside = responses[cell].reshape(-1, arguments.units)
                values[index, number, : arguments.units] = np.maximum(inside - arguments.threshold, 0).mean(axis=0)
                values[index, number, arguments.units :] = np.maximum(-inside - arguments.threshold, 0).mean(axis=0)
    return values.reshape(len(images), -1)


def least_squares(train, test, labels, test_labels):
    """Test error in percent, and the penalty that was chosen on the last tenth of the training images."""
    from scipy.linalg import cho_factor, cho_solve

    some = train[:10_000].astype("float32")
    mean, deviation = some.mean(axis=0), some.std(axis=0) + 1e-6
    kept = len(train) - len(train) // 10
    sums = [np.zeros((train.shape[1],) * 2, "float32"), np.zeros((train.shape[1], labels.max() + 1), "float32")]

    def rows(features, start, stop):
        return (features[start:stop].astype("float32") - mean) / deviation

    def add(first, last):
        for start in range(first, last, BLOCK):
            stop = min(start + BLOCK, last)
            block = rows(train, start, stop)
            sums[0] += block.T @ block
            sums[1] += block.T @ (np.eye(labels.max() + 1, dtype="float32")[labels[start:stop]] - 0.1)

    def solve(penalty, count):
        penalised = sums[0].copy()
        penalised.flat[:: len(penalised) + 1] += penalty * count
        return cho_solve(cho_factor(penalised, overwrite_a=True), sums[1])

    def error(weights, features, first, truth):
        found = [rows(features, s, s + BLOCK) @ weights for s in range(first, len(features), BLOCK)]
        return 100 * float((np.concatenate(found).argmax(axis=1) != truth).mean())

    add(0, kept)
    errors = {penalty: error(solve(penalty, kept), train, kept, labels[kept:]) for penalty in PENALTIES}
    best = min(errors, key=errors.get)
    add(kept, len(train))
    return error(solve(best, len(train)), test, 0, test_labels), best


if __name__ == "__main__":
    main()
