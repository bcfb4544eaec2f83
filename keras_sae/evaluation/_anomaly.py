import functools

import keras
import numpy as np

from keras_sae._checks import check_integer
from keras_sae._markdown import table
from keras_sae.anomaly import AnomalyDetector, RocCurve
from keras_sae.datasets import batches
from keras_sae.evaluation._bootstrap import bootstrap_interval
from keras_sae.evaluation._localization import average_precision
from keras_sae.evaluation._suite import Suite, check_labels, within


def anomaly(
    build,
    train,
    test,
    *,
    epochs=20,
    batch_size=128,
    seed=0,
    optimizer=None,
    score=None,
    seeds=1,
    false_positive_rate=0.01,
    report=None,
):
    """Measures how well anomaly scores tell the images of one class from all others.

    For each class, a model is trained on the training images of this class alone, and images of all classes are scored. The
    figure is the area under the ROC curve (AUROC): the share of pairs of an image of another class and an image of this class
    in which the former has the higher score.

    By default the score is the mean squared reconstruction error. With `score`, each model gets a
    `keras_sae.anomaly.AnomalyDetector`, whose threshold is calibrated on a fifth of the training images. The model does not
    see them.

    Args:
        build: Function that returns a compiled, untrained `SparseAutoencoder`. Called once for each class and seed.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        epochs: Integer, at least 1. Epochs of training for each class.
        batch_size: Integer.
        seed: Integer. Fixes the order of images.
        optimizer: Passed on as `build(optimizer=optimizer)` if given. In a recipe, the description of another optimizer.
        score: The `score` of the detectors, such as `"relative"`, or None for reconstruction errors without a detector.
        seeds: Integer, with `score`: how many times all classes are trained, with `seed`, `seed + 1`, ...
        false_positive_rate: Float in (0, 1), with `score`: what the thresholds are calibrated for.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `auroc`, the mean over classes in percent; `interval`, a list of two, its 95 % bootstrap
        confidence interval over test images; and `classes`, a dictionary from each class, as text, to its own AUROC. With
        `score`, also `average_precision` and `false_positive_rate` at the threshold, means over classes in percent, and
        `seeds`, a dictionary from each seed, as text, to its mean AUROC. All other figures are means over seeds.

    Reference:
        The protocol of Ruff et al., "Deep One-Class Classification", ICML 2018.
    """
    check_labels("Anomaly detection takes each class in turn as the normal one", train, test)
    check_integer("seeds", seeds, "is how many times all classes are trained")
    (x, labels), (test_x, test_labels) = ((np.asarray(images), np.asarray(y)) for images, y in (train, test))
    report = report or (lambda sentence: None)
    make = build if optimizer is None else functools.partial(build, optimizer=optimizer)
    classes = np.unique(labels)
    judged = []  # by seed and class
    for chosen in range(seed, seed + seeds) if score else [seed]:
        for label in classes:
            own = labels == label
            if score:
                keras.utils.set_random_seed(chosen)
                model, others = make(), _held_out(own, chosen)
            else:
                model, others = make(), own & False
            own = own & ~others
            _fit(model, x[own], labels[own], epochs, batch_size, chosen)
            detector = AnomalyDetector(model, score or "reconstruction", batch_size=1000)
            if score:
                detector.calibrate(x[others], false_positive_rate, training=x[own])
            judged.append(_Judged(chosen, str(label), test_labels != label, detector, test_x))
            seeded = f" with seed {chosen}" if seeds > 1 else ""
            report(f"  trained on the {own.sum():,} images of class {label}{seeded}: AUROC {100 * judged[-1].area:.2f}")
    return _figures(judged, test_labels, bool(score))


def _held_out(own, seed):
    """A fifth of the images of a class, to calibrate on."""
    rows = np.flatnonzero(own)
    chosen = np.random.default_rng(seed).permutation(rows)[: max(len(rows) // 5, 1)]
    return np.isin(np.arange(len(own)), chosen)


def _fit(model, x, labels, epochs, batch_size, seed):
    model.fit(
        batches(x, batch_size, seed, labels if model.supervised else None),
        epochs=epochs,
        steps_per_epoch=-(-len(x) // batch_size),
        shuffle=False,  # `batches` shuffles
        verbose=0,
    )


class _Judged:
    """The scores that a detector of one class gave to the test images."""

    def __init__(self, seed, label, anomalous, detector, x):
        scores = detector.score_samples(x)
        self.seed, self.label, self.anomalous = seed, label, anomalous
        self.curve = RocCurve(anomalous, scores)
        self.area = self.curve.area()
        self.precision = average_precision(anomalous, scores)
        self.false_positive_rate = np.mean(scores[~anomalous] > detector.threshold) if detector.is_calibrated else None


def _figures(judged, test_labels, detailed):
    def percent(values):
        return round(100 * float(np.mean(values)), 4)

    labels, seeds = (list(dict.fromkeys(getattr(each, name) for each in judged)) for name in ("label", "seed"))
    areas = {label: percent([each.area for each in judged if each.label == label]) for label in labels}

    def mean_of_resample(rows):
        counts = np.bincount(rows, minlength=len(test_labels)).astype("float64")
        return np.mean([each.curve.area(counts) for each in judged])

    interval = [round(100 * bound, 4) for bound in bootstrap_interval(test_labels, mean_of_resample, resamples=500)]
    figures = {"auroc": float(np.mean(list(areas.values()))), "interval": interval, "classes": areas}
    if detailed:
        figures["average_precision"] = percent([each.precision for each in judged])
        figures["false_positive_rate"] = percent([each.false_positive_rate for each in judged])
        figures["seeds"] = {str(seed): percent([each.area for each in judged if each.seed == seed]) for seed in seeds}
    return figures


def auroc(anomalous, scores):
    """The area under the ROC curve.

    This is the share of pairs of an anomalous and a normal example in which the anomalous one has the higher score; ties count
    half.

    Args:
        anomalous: Boolean array of shape `(n,)`.
        scores: Array of shape `(n,)`.

    Example:

    >>> auroc([False, False, True, True], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return RocCurve(np.asarray(anomalous, bool), np.asarray(scores)).area()


def _section(figures, options, metadata):
    low, high = figures["interval"]
    names = [str(name) for name in sorted(figures["classes"], key=lambda name: (len(name), name))]
    row = ("AUROC", *(f"{figures['classes'][name]:.1f}" for name in names), f"{figures['auroc']:.2f}")
    if "seeds" in figures:
        return [
            "### Anomaly detection: area under the ROC curve",
            "",
            *table(("class", *names, "mean"), [row]),
            "",
            _text(figures, options),
            "",
        ]
    text = (
        f"In percent. For each class, a new model of this recipe is trained on images of this class alone, for "
        f"{options.get('epochs', 20)} epochs. The reconstruction error of a test image is its anomaly score. This measures the "
        f"recipe, not the weights of this preset. 95 % bootstrap confidence interval of the mean: {low:.2f} to {high:.2f}. "
        "`keras-sae evaluate` accepts the mean within 1 and each class within 3, because training differs between machines."
    )
    return ["### Anomaly detection: area under the ROC curve", "", *table(("class", *names, "mean"), [row]), "", text, ""]


def _text(figures, options):
    low, high = figures["interval"]
    seeds = " and ".join(f"{value:.2f}" for value in figures["seeds"].values())
    rate = options.get("false_positive_rate", 0.01)
    return (
        "In percent. For each class, new models of this recipe are trained on images of this class alone, for "
        f"{options.get('epochs', 20)} epochs, and get a detector with the score `{options['score']}`. Mean of each seed: "
        f"{seeds}; 95 % bootstrap confidence interval of their mean: {low:.2f} to {high:.2f}. Average precision: "
        f"{figures['average_precision']:.2f}. Of normal test images, {figures['false_positive_rate']:.2f} % are called "
        f"anomalous, with thresholds calibrated for {100 * rate:g} %. This measures the recipe, not the weights of this preset."
    )


SUITE = Suite(
    anomaly,
    _section,
    unit="",
    higher_is_better=True,
    agrees=within({"classes": 3, "auroc": 1, "interval": 1, "seeds": 1, "average_precision": 1, "false_positive_rate": 0.5}),
    figures=lambda options: ("auroc", "classes.*"),
    reads_labels=lambda options: True,
)
