"""What `keras-sae quickstart` shows: the whole package in a minute, on the images that it ships."""

import shutil
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from keras_sae import evaluation, presets, serving, visualization
from keras_sae.callbacks import KSchedule
from keras_sae.datasets import SAMPLE, load_arrays
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder, SparseAutoencoder

PRESET = "fashion_mnist_dense_kl"


def tour(output):
    """Transfers a pretrained encoder, trains a sparse autoencoder, exports it, and draws what it learned.

    Args:
        output: Directory for the results. Results of an earlier quickstart in it are replaced.
    """
    began = time.perf_counter()
    output = Path(output).expanduser()
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    train, test = (_read(split) for split in ("train", "test"))
    print(f"Data: {len(train[0]):,} training and {len(test[0]):,} test images of Fashion-MNIST, shipped with the package.")
    _transfer(train, test)
    images = test[0]
    model = _train(train[0], images)

    print("\n3. Export for TF Serving")
    exported = _export(model, output / "export")
    print(
        f"   The codes of the loaded SavedModel differ from the model's by at most {_difference(exported, model, images):.1e}."
    )

    presets.save(model, output / "preset", examples=images[:8])
    picture = output / "quickstart.png"
    _draw(model, images, picture)
    print(f"\nDone in {time.perf_counter() - began:.0f} seconds. In {output}:")
    for path, what in (
        (picture, "features and reconstructions of the new autoencoder"),
        (output / "preset", "the autoencoder, for SparseAutoencoder.from_preset"),
        (exported, "the SavedModel"),
    ):
        print(f"   {path!s:40} {what}")
    print("\nNext:")
    for command, what in (
        ("keras-sae list", "the pretrained models"),
        (f"keras-sae info {PRESET}", "the card of one model"),
        ("keras-sae train mnist_dense_ksparse", "train one yourself (needs MNIST, see --help)"),
    ):
        print(f"   {command:40} {what}")


def _read(split):
    images, labels = load_arrays(SAMPLE, split)
    return evaluation.as_input(images), labels


def _transfer(train, test):
    (train_x, train_labels), (test_x, test_labels) = train, test
    print(f"\n1. A pretrained encoder, {PRESET}")
    encoder = SparseAutoencoder.from_preset(PRESET).encoder
    train_codes, test_codes = evaluation.encode(encoder, train_x), evaluation.encode(encoder, test_x)
    print(f"   encodes images of shape {train_x.shape[1:]} into codes of {train_codes.shape[-1]} units.")
    print(f"   The same classifier, logistic regression, trained with the labels of the {len(train_x):,} training images:")
    for name, train_features, test_features in (
        ("raw pixels", train_x, test_x),
        ("pretrained codes", train_codes, test_codes),
    ):
        result = evaluation.probe(
            train_features, train_labels, test_features, test_labels, validation=500, C=(0.01, 0.1), iterations=80
        )
        print(f"   {name:>16}: {100 - result['error']:.1f} % of the test images right")


def _train(train_x, test_x):
    print("\n2. Your own sparse autoencoder: 256 units, of which 16 are active at a time")
    model = DenseAutoencoder(
        train_x.shape[1:],
        code_units=256,
        sparsity=KSparse(k=16),
        tied=True,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    schedule = KSchedule(start=100, steps=650)  # every unit learns something before few may be active
    model.fit(train_x, epochs=15, batch_size=32, callbacks=[schedule], verbose=2)
    statistics = evaluation.code_statistics(model, test_x)
    print(
        f"   On test images, {statistics['l0']:.1f} of 256 units are active on average; {statistics['dead_units']} never are."
    )
    return model


def _export(model, directory):
    """Exports, replacing what an earlier quickstart exported there."""
    with tempfile.TemporaryDirectory(prefix=".export-", dir=directory.parent) as beside:
        fresh = Path(beside) / "export"
        serving.export(model, fresh, version=1)
        if directory.exists():
            shutil.rmtree(directory)
        fresh.rename(directory)
    return directory / "1"


def _difference(exported, model, images):
    import tensorflow as tf

    images = images[:100]
    codes = tf.saved_model.load(str(exported)).signatures["encode"](inputs=tf.constant(images))["codes"]
    return float(np.abs(codes.numpy() - evaluation.encode(model, images)).max())


def _draw(model, images, path):
    figure = visualization.new_figure(7, 9)
    above, below = figure.subfigures(2, 1, height_ratios=(7, 2))
    visualization.plot_features(model, count=64, codes=evaluation.encode(model, images), figure=above)
    visualization.plot_reconstructions(model, images, count=8, figure=below)
    figure.savefig(path, dpi=120)
