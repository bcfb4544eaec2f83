"""Compares the features of a preset with those of other dictionaries of its size, on a part of the data, with few labels too.

    python benchmarks/patch_dictionaries.py PRESET [--images TRAIN TEST] [--steps N] [--data-dir DIR]
    python benchmarks/patch_dictionaries.py PRESET --time

Logistic regression reads the preset's features, the same model with random patches and with centres of k-means as units, PCA
and raw pixels. A small convolutional network, trained on the labels alone with random mirror images, stands beside them. Its
width and its number of steps were not tuned. With `--time`, the script only says what the features of an image cost: processor
time, which is the time on one core.
"""

import argparse
import time

import keras
import numpy as np

from keras_sae import presets
from keras_sae.datasets import load_arrays
from keras_sae.evaluation import probe_encoder
from keras_sae.models import SparseAutoencoder

KINDS = {
    "samples": "random patches as units",
    "k_means": "centres of k-means as units",
    "pca": "PCA",
    "raw_pixels": "raw pixels",
}
BATCH = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--images", type=int, nargs=2, default=(10_000, 2_000), help="of training and of test data")
    parser.add_argument("--labels", type=int, nargs="*", default=(100, 1000))
    parser.add_argument("--draws", type=int, default=5, help="of few labels (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="of the convolutional network; 0 leaves it out")
    parser.add_argument("--time", action="store_true", help="measure the time for an image, and nothing else")
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    options = parser.parse_args()
    if options.time:
        print(cost(options.preset))
        return
    name = presets.read_metadata(presets.find(options.preset))["data"]["name"]
    train, test = (
        load_arrays(name, f"{split}[:{count}]", options.data_dir)
        for split, count in zip(("train", "test"), options.images, strict=True)
    )
    figures = probe_encoder(
        SparseAutoencoder.from_preset(options.preset),
        train,
        test,
        validation=len(train[0]) // 5,
        C=(0.001, 0.003, 0.01, 0.03),
        iterations=60,
        few_labels=options.labels,
        draws=options.draws,
        baselines=tuple(KINDS),
        report=lambda sentence: print(sentence, flush=True),
    )
    rows = {f"{options.preset}, {figures['features']} features": figures, **{KINDS[kind]: figures[kind] for kind in KINDS}}
    print(f"\n| test error in percent | {len(train[0]):,} labels |{''.join(f' {n:,} labels |' for n in options.labels)}")
    print("|---|" + "---|" * (1 + len(options.labels)))
    for words, each in rows.items():
        cells = [text(each), *(text(each[f"labels_{n}"]) for n in options.labels)]
        print(f"| {words} | {' | '.join(cells)} |")
    if options.steps:
        errors = [supervised(train, test, count, options.steps) for count in (len(train[0]), *options.labels)]
        print(f"| convolutional network, {options.steps:,} steps | {' | '.join(f'{error:.1f}' for error in errors)} |")


def cost(preset, images=96, rounds=5):
    """What the features of 32 x 32 images cost, in words: the fastest of some rounds."""
    features = SparseAutoencoder.from_preset(preset).features
    x = np.random.default_rng(0).uniform(size=(images, 32, 32, 3)).astype("float32")
    times = {}
    for batch in (1, 8, 32):
        features.predict_on_batch(x[:batch])
        for _ in range(rounds):
            start = time.process_time()
            for first in range(0, images, batch):
                features.predict_on_batch(x[first : first + batch])
            took = 1000 * (time.process_time() - start) / images
            times[batch] = min(took, times.get(batch, took))
    words = ", ".join(f"{took:.2f} ms in batches of {batch}" for batch, took in times.items())
    size = (presets.find(preset) / "model.weights.h5").stat().st_size / 1e6
    return f"{preset}: {size:.2f} MB of weights; processor time for an image: {words}"


def text(figures):
    low, high = figures["interval"]
    return f"{figures['error']:.1f} ({low:.1f} to {high:.1f})"


def supervised(train, test, count, steps):
    """The test error in percent of a small convolutional network that sees `count` labels."""
    keras.utils.set_random_seed(0)
    images, labels = train[0][:count], train[1][:count]
    layers = [keras.Input(images.shape[1:]), keras.layers.Rescaling(1 / 255), keras.layers.RandomFlip("horizontal")]
    for filters in (32, 64, 128):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]
    classes = int(labels.max()) + 1
    network = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)])
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.AdamW(rate), loss)
    rows = np.concatenate([np.random.default_rng(epoch).permutation(count) for epoch in range(-(-steps * BATCH // count))])
    rows = rows[: steps * BATCH]
    network.fit(images[rows], labels[rows], batch_size=BATCH, shuffle=False, verbose=0)
    return 100 * float((network.predict(test[0], 256, verbose=0).argmax(axis=1) != test[1]).mean())


if __name__ == "__main__":
    main()
