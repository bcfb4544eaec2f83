"""Draws the pictures of the README into docs/images, from what the package ships: `python docs/pictures.py`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_sae import presets
from keras_sae.models import SparseAutoencoder
from keras_sae.visualization import decoder_features

IMAGES = Path(__file__).parent / "images"
PRESET = "mnist_dense_ksparse"
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


def main():
    IMAGES.mkdir(exist_ok=True)
    overview().savefig(IMAGES / "overview.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
