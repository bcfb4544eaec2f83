"""Measures how well a detector finds defects on textures: `python benchmarks/texture_defects.py`.

Needs scikit-image (`pip install scikit-image`), whose wheel holds photographs of brick, gravel and grass, and scikit-
learn. The upper part of each photograph gives crops for training, the lower part crops for calibration and for the
test. On half of the test crops a defect is drawn, in black or white: a scratch, a spot, or a smear with a soft edge;
its pixels are known. For each texture and score, the script prints the area under the ROC curve (AUROC) by kind of
defect, the area under the per-region overlap (AUPRO) of the maps, and the false-positive rate at the threshold. Then
it prints the AUROC of PCA, an isolation forest, a one-class SVM and nearest neighbours on the same crops. It exits
with status 1 if a target is missed: AUROC 0.95 and AUPRO 0.85 for the best score.
"""

import argparse
import sys

import keras
import numpy as np

from keras_sae.anomaly import AnomalyDetector
from keras_sae.evaluation import aupro, auroc, outlier_detectors
from keras_sae.layers import KSparse
from keras_sae.models import ConvolutionalAutoencoder

SIDE = 64
KINDS = ("scratch", "spot", "smear")
SPLIT = 320  # rows of the photograph for training; the others are for calibration and test
TARGETS = {"AUROC": 0.95, "AUPRO": 0.85}


def crops(photograph, count, random):
    """Random square crops, `(count, SIDE, SIDE, 1)`."""
    rows, columns = (random.integers(0, size - SIDE + 1, count) for size in photograph.shape)
    return np.stack([photograph[a : a + SIDE, b : b + SIDE] for a, b in zip(rows, columns, strict=True)])[..., None]


def draw(kind, crop, random):
    """A crop with a defect, and its mask."""
    middle, angle = random.uniform(14, SIDE - 14, 2), random.uniform(0, np.pi)
    down, right = np.mgrid[:SIDE, :SIDE] - middle[:, None, None]
    along, across = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
    if kind == "scratch":
        mask = (np.abs(along) < random.uniform(12, 24)) & (np.abs(across) < random.uniform(1, 2))
        opacity = 0.9
    elif kind == "spot":
        mask = along**2 + across**2 < random.uniform(3, 6) ** 2
        opacity = 0.9
    else:
        place = (along / random.uniform(10, 16)) ** 2 + (across / random.uniform(4, 8)) ** 2
        mask, opacity = place < 1, 0.85 * np.clip(1.5 - 1.5 * place, 0, 1)
    opacity = (mask * opacity)[..., None]
    return (crop * (1 - opacity) + opacity * random.integers(2)).astype("float32"), mask


def data_of(photograph, seed, size):
    """Crops for training, calibration and test, and by kind of defect pairs of crops and masks."""
    random = np.random.default_rng(seed)
    upper, lower = photograph[:SPLIT], photograph[SPLIT:]
    train, calibration, test = crops(upper, 2 * size, random), crops(lower, size, random), crops(lower, size // 2, random)
    defects = {}
    for kind in KINDS:
        drawn = [draw(kind, crop, random) for crop in crops(lower, size // 6, random)]
        defects[kind] = tuple(np.stack(each) for each in zip(*drawn, strict=True))
    return train, calibration, test, defects


def area_of(normal, anomalous):
    return auroc(np.arange(len(normal) + len(anomalous)) >= len(normal), np.concatenate([normal, anomalous]))


def measure(detector, test, defects):
    """AUROC by kind of defect, AUPRO of all, and the false-positive rate."""
    normal = detector.score_samples(test)
    areas = [area_of(normal, detector.score_samples(x)) for x, _ in defects.values()]
    x, masks = (np.concatenate(each) for each in zip(*defects.values(), strict=True))
    masks = np.concatenate([np.zeros((len(test), SIDE, SIDE), bool), masks])
    overlap = aupro(masks, detector.anomaly_map(np.concatenate([test, x])))
    return areas, overlap, float(np.mean(normal > detector.threshold))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textures", nargs="+", default=["brick", "gravel", "grass"])
    parser.add_argument("--scores", nargs="+", default=["reconstruction", "patch", "code", "texture"])
    parser.add_argument("--size", type=int, default=400, help="crops for calibration; twice as many for training")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.05, help="false-positive rate to calibrate for")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from skimage import data

    reached = True
    for texture in options.textures:
        photograph = getattr(data, texture)().astype("float32") / 255
        train, calibration, test, defects = data_of(photograph, options.seed, options.size)
        keras.utils.set_random_seed(options.seed)
        model = ConvolutionalAutoencoder((SIDE, SIDE, 1), [32], KSparse(4, across="units"), kernel_size=7)
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        model.fit(train, epochs=options.epochs, verbose=0)
        best = {"AUROC": 0.0, "AUPRO": 0.0}
        print(f"\n{texture:16}  {'  '.join(KINDS)}  AUROC  AUPRO  flagged at {100 * options.rate:g} %")
        for score in options.scores:
            detector = AnomalyDetector(model, score).calibrate(calibration, options.rate, training=train)
            areas, overlap, rate = measure(detector, test, defects)
            best = {"AUROC": max(best["AUROC"], np.mean(areas)), "AUPRO": max(best["AUPRO"], overlap)}
            figures = "  ".join(f"{area:{len(kind)}.3f}" for area, kind in zip(areas, KINDS, strict=True))
            print(f"{score:16}  {figures}  {np.mean(areas):.3f}  {overlap:.3f}  {100 * rate:.1f} %", flush=True)
        for name, scores_of in outlier_detectors(train).items():
            normal = scores_of(test)
            areas = [
                auroc(np.arange(len(normal) + len(x)) >= len(normal), np.r_[normal, scores_of(x)]) for x, _ in defects.values()
            ]
            figures = "  ".join(f"{area:{len(kind)}.3f}" for area, kind in zip(areas, KINDS, strict=True))
            print(f"{name:16}  {figures}  {np.mean(areas):.3f}", flush=True)
        reached = reached and all(best[name] >= target for name, target in TARGETS.items())
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
