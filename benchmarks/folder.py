"""Naive use against tuned models on a folder of bright colour pictures, 61 x 47, of normal parts and of parts with defects.

    python benchmarks/folder.py [--keep DIR] [--seeds 3]

Draws 500 normal pictures, of which the models train on 400, and 100 with a scratch, a spot, a smear or a missing hole. Writes
them to a folder and loads them by `keras_sae.datasets.load_folder`. Prints a table in Markdown: for each score, the area under
the ROC curve in percent, on the other 100 normal pictures and the 100 with defects. "naive": default arguments, images in
[0, 1], no callbacks; "default": `AnomalyDetector(model)` without a score. Exits with status 1 if the worst naive model with the
default score is more than 2 points below the best tuned model with its best score.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_sae.anomaly import AnomalyDetector
from keras_sae.datasets import load_folder
from keras_sae.evaluation import auroc
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.training import load_recipe, train

HEIGHT, WIDTH = 61, 47
DEFECTS = ("scratch", "spot", "smear", "no hole")
SCORES = {"default": None, "reconstruction": "reconstruction", "relative": "relative", "patch": "patch"}
ALLOWED = 2.0  # points between the naive use and the best tuned one
# units, k, arguments, learning rate, epochs
TUNED = (
    (32, 32, {}, 1e-3, 130),
    (64, 16, {}, 3e-4, 130),
    (128, 32, {}, 1e-3, 130),
    (256, 16, {"tied": True}, 1e-3, 130),
)


def draw(random, defect=None):
    """A picture of a part, uint8 of shape `(61, 47, 3)`: an ellipse with a hole and a bar. Its place and the light vary."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype("float32")
    light = random.uniform(0.9, 1) + random.normal(0, 0.03) * (x / WIDTH - 0.5) + random.normal(0, 0.03) * (y / HEIGHT - 0.5)
    picture = np.full((HEIGHT, WIDTH, 3), (0.93, 0.91, 0.86), "float32")
    row, column = HEIGHT / 2 + random.uniform(-1.5, 1.5), WIDTH / 2 + random.uniform(-1.5, 1.5)
    picture[((y - row) / 24) ** 2 + ((x - column) / 18) ** 2 < 1] = random.normal((0.95, 0.75, 0.55), 0.015)
    if defect != "no hole":
        picture[(y - row + 8) ** 2 + (x - column) ** 2 < 5**2] = (0.55, 0.6, 0.7)
    picture[(abs(y - row - 9) < 2) & (abs(x - column) < 10)] = (0.8, 0.5, 0.45)
    top, left = y - row - random.uniform(-12, 12), x - column - random.uniform(-8, 8)
    if defect == "scratch":
        angle = random.uniform(0, np.pi)
        along, across = left * np.cos(angle) + top * np.sin(angle), top * np.cos(angle) - left * np.sin(angle)
        picture[(abs(along) < random.uniform(4, 8)) & (abs(across) < 0.8)] -= random.uniform(0.1, 0.25)
    elif defect == "spot":
        picture[top**2 + left**2 < random.uniform(1.5, 2.5) ** 2] *= (0.75, 0.8, 0.7)
    elif defect == "smear":
        change = random.choice([-1, 1]) * random.uniform(0.08, 0.15)
        picture += change * np.exp(-((top / 6) ** 2) - (left / 4) ** 2)[..., None]
    picture = picture * light[..., None] + random.normal(0, 0.02, picture.shape)
    return np.round(picture.clip(0, 1) * 255).astype("uint8")


def write(folder):
    """Writes the pictures: `train/normal`, `test/normal` and `test/defect`."""
    random = np.random.default_rng(0)
    for name, count, defects in (("train/normal", 400, [None]), ("test/normal", 100, [None]), ("test/defect", 100, DEFECTS)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture = draw(random, defects[index % len(defects)])
            keras.utils.save_img(folder / name / f"{index:03}.png", picture, scale=False)


def areas(model, x, is_normal):
    """The area under the ROC curve of each score."""
    return {
        name: 100 * auroc(~is_normal, AnomalyDetector(model, score=score).score_samples(x)) for name, score in SCORES.items()
    }


def fitted(x, seed, units=64, k=8, arguments=None, optimizer="adam", epochs=50):
    keras.utils.set_random_seed(seed)
    model = DenseAutoencoder(x.shape[1:], units, KSparse(k), **(arguments or {}))
    model.compile(optimizer, "mse")
    model.fit(x, epochs=epochs, verbose=0)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", metavar="DIR", help="write the folder here and keep it")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the naive model (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary) / "parts"
        if not folder.exists():
            write(folder)
        (x, _), (test, labels) = (load_folder(folder, split) for split in ("train", "test"))
        x, test, is_normal = x.astype("float32") / 255, test.astype("float32") / 255, labels == 1
        print(f"| model | {' | '.join(SCORES)} |\n|{'---|' * (1 + len(SCORES))}", flush=True)

        def report(name, model):
            found = areas(model, test, is_normal)
            print(f"| {name} | {' | '.join(f'{area:.1f}' for area in found.values())} |", flush=True)
            return found

        naive = min(
            report(f"naive: 64 units, k = 8, 50 epochs, seed {seed}", fitted(x, seed))["default"]
            for seed in range(options.seeds)
        )
        recipe = load_recipe(folder)
        report("`keras-sae train parts`", train(recipe, Path(temporary) / "run", verbose=0))
        best = 0.0
        for units, k, arguments, rate, epochs in TUNED:
            name = f"{units} units, k = {k}{', tied' if arguments else ''}, rate {rate:g}, {epochs} epochs"
            best = max(best, *report(name, fitted(x, 0, units, k, arguments, keras.optimizers.Adam(rate), epochs)).values())
    print(f"\nWorst naive model with the default score: {naive:.1f}. Best tuned model with its best score: {best:.1f}.")
    return int(best - naive > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
