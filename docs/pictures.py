"""Draws the pictures of the README into docs/images, from what the package ships: `python docs/pictures.py`."""

from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_sae import datasets, evaluation, presets
from keras_sae.anomaly import AnomalyDetector
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.visualization import decoder_features, new_figure

IMAGES = Path(__file__).parent / "images"
PRESET = "mnist_dense_ksparse"
WORD = "paris"
GRID = {"wspace": 0.06, "hspace": 0.06, "left": 0.05, "right": 0.98, "bottom": 0.02, "top": 0.89}


def overview():
    """Left: features of a preset. Right: digits, and their reconstructions."""
    model = SparseAutoencoder.from_preset(PRESET)
    features = decoder_features(model)[:, :, :, 0]
    largest_first = np.argsort(-np.abs(features).sum(axis=(1, 2)), kind="stable")
    shown = largest_first[:480:8]
    digits = presets.load_reference(presets.find(PRESET))["inputs"][:8]
    outputs = np.asarray(model(digits))
    active = np.count_nonzero(np.asarray(model.encoder(digits)), axis=-1).mean()

    figure = Figure(figsize=(11, 4.2), dpi=130)
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1))
    left.suptitle(f"What units look for: 60 of {len(features)}", fontsize=13)
    for axes, unit in zip(left.subplots(6, 10, gridspec_kw=GRID).flat, shown, strict=True):
        limit = np.abs(features[unit]).max()
        axes.imshow(features[unit], cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()
    right.suptitle(f"Digits, rebuilt from {active:.0f} active units", fontsize=13)
    cells = right.subplots(4, 4, gridspec_kw=GRID)
    for column in range(4):
        for block in range(2):
            for row, pictures in enumerate((digits, outputs)):
                axes = cells[2 * block + row, column]
                axes.imshow(pictures[4 * block + column, :, :, 0], cmap="gray_r", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if column == 0:
                    axes.set_ylabel(("input", "rebuilt")[row], fontsize=10)
    return figure


def units():
    """What units of a preset draw, each beside the images of the shipped sample that excite it most."""
    model = SparseAutoencoder.from_preset("fashion_mnist_dense_ksparse")
    images, labels = datasets.load_arrays("fashion_mnist_sample", "test")
    found = evaluation.top_inputs(model, images / np.float32(255), count=7, labels=labels)["units"]
    features = decoder_features(model)[..., 0]
    shown = _one_of_each([unit for unit in found if len(unit["inputs"]) == 7], labels, 8)

    figure = Figure(figsize=(11, 3.1), dpi=130)
    for block, column in zip(figure.subfigures(1, 2), (shown[:4], shown[4:]), strict=True):
        for axes, unit in zip(block.subplots(4, 8, gridspec_kw={**GRID, "top": 0.98}), column, strict=True):
            feature = features[unit["unit"]]
            limit = np.abs(feature).max()
            axes[0].imshow(feature, cmap="RdBu_r", vmin=-limit, vmax=limit)
            for axis, row in zip(axes[1:], unit["inputs"], strict=True):
                axis.imshow(images[row, ..., 0], cmap="gray_r")
            for axis in axes:
                axis.set_axis_off()
    return figure


def _one_of_each(units, labels, count):
    """The unit of each class whose images have most in common."""
    best = {}
    for unit in sorted(units, key=lambda unit: -unit["purity"]):
        best.setdefault(np.bincount(labels[unit["inputs"]]).argmax(), unit)
    return list(best.values())[:count]


def anomaly():
    """Normal images and images with a defect, each over its heat map."""
    keras.utils.set_random_seed(0)
    images, labels = datasets.load_arrays("fashion_mnist_sample", "train")
    trousers = images[labels == 1]
    train, normal = trousers[:140], trousers[140:]
    model = DenseAutoencoder((28, 28, 1), code_units=64, sparsity=KSparse(8))
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit(train, epochs=60, verbose=0)
    detector = AnomalyDetector(model, score="patch").calibrate(normal, false_positive_rate=0.05)

    random = np.random.default_rng(0)
    shown = normal[:12].copy()
    for image in shown[4:]:
        row, column = random.integers(6, 20), random.integers(8, 16)
        image[row : row + 3, column : column + 6] = 255 - image[row : row + 3, column : column + 6]
    figure = Figure(figsize=(11, 2), dpi=130)
    flags, maps = detector.is_anomalous(shown), detector.anomaly_map(shown)
    axes = figure.subplots(2, 12, gridspec_kw={**GRID, "left": 0.02, "top": 0.86})
    for column, (image, heat, flag) in enumerate(zip(shown, maps, flags, strict=True)):
        axes[0, column].set_title("anomalous" if flag else "normal", fontsize=10, color="firebrick" if flag else "0.3")
        axes[0, column].imshow(image[..., 0], cmap="gray_r")
        axes[1, column].imshow(heat, cmap="inferno", vmin=0, vmax=2 * detector.threshold)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def words():
    """What the code of a word says, from the card of the preset."""
    described = presets.read_metadata(presets.find("glove_dense_ksparse"))["metrics"]["units"]["described"][WORD]
    shown = described[:5]
    figure = new_figure(8.5, 2.2)
    axis = figure.add_subplot()
    axis.barh(range(len(shown)), [unit["value"] for unit in shown], color="tab:blue", height=0.7)
    for place, unit in enumerate(shown):
        others = [word for word in unit["inputs"] if word != WORD][:7]
        axis.text(unit["value"] + 0.005, place, ", ".join(others), va="center", fontsize=10)
    axis.set_yticks(range(len(shown)), [f"unit {unit['unit']}" for unit in shown])
    axis.set(xlim=(0, 2.6 * shown[0]["value"]), xticks=[])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.invert_yaxis()
    axis.set_title(f"The strongest units of “{WORD}”, and other words that excite them", fontsize=11, loc="left")
    return figure


def main():
    IMAGES.mkdir(exist_ok=True)
    for picture in (overview, units, anomaly, words):
        picture().savefig(IMAGES / f"{picture.__name__}.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
