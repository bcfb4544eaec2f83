import keras
import numpy as np

from keras_sae._markdown import table
from keras_sae.datasets import batches
from keras_sae.evaluation._bootstrap import bootstrap_interval
from keras_sae.evaluation._encode import inputs_of
from keras_sae.evaluation._suite import Suite, check_labels, within


def anomaly(build, train, test, *, epochs=20, batch_size=128, seed=0, optimizer=None, report=None):
    """Measures how well reconstruction errors tell the images of one class from all others.

    For each class, a model is trained on the training images of this class alone. The anomaly score of a test image is its mean
    squared reconstruction error. The figure is the area under the ROC curve (AUROC): the share of pairs of an image of another
    class and an image of this class in which the former has the higher score.

    Args:
        build: Function that returns a compiled, untrained `SparseAutoencoder`. Called once for each class.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        epochs: Integer, at least 1. Epochs of training for each class.
        batch_size: Integer.
        seed: Integer. Fixes the order of images.
        optimizer: Passed on as `build(optimizer=optimizer)` if given. In a recipe, the description of another optimizer.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `auroc`, the mean over classes in percent; `interval`, a list of two, its 95 % bootstrap
        confidence interval over test images; and `classes`, a dictionary from each class, as text, to its own AUROC.

    Reference:
        The protocol of Ruff et al., "Deep One-Class Classification", ICML 2018.
    """
    check_labels("Anomaly detection takes each class in turn as the normal one", train, test)
    (x, labels), (test_x, test_labels) = ((np.asarray(images), np.asarray(y)) for images, y in (train, test))
    report = report or (lambda sentence: None)
    classes = np.unique(labels)
    curves = []
    for label in classes:
        model = build() if optimizer is None else build(optimizer=optimizer)
        own = x[labels == label]
        needs_labels = model.supervised
        model.fit(
            batches(own, batch_size, seed, labels[labels == label] if needs_labels else None),
            epochs=epochs,
            steps_per_epoch=-(-len(own) // batch_size),
            shuffle=False,  # `batches` shuffles
            verbose=0,
        )
        curves.append(_Curve(test_labels != label, squared_errors(model, test_x)))
        report(f"  trained on the {len(own):,} images of class {label}: AUROC {100 * curves[-1].area():.2f}")
    areas = {str(label): round(100 * curve.area(), 4) for label, curve in zip(classes, curves, strict=True)}

    def mean_of_resample(rows):
        counts = np.bincount(rows, minlength=len(test_x)).astype("float64")
        return np.mean([curve.area(counts) for curve in curves])

    interval = [round(100 * bound, 4) for bound in bootstrap_interval(test_labels, mean_of_resample, resamples=500)]
    return {"auroc": float(np.mean(list(areas.values()))), "interval": interval, "classes": areas}


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
    return _Curve(np.asarray(anomalous, bool), np.asarray(scores)).area()


def squared_errors(model, x, batch_size=1000):
    """The mean squared error of the reconstruction of each input, `(n,)`."""
    errors = []
    for inputs in inputs_of(x, batch_size):
        difference = keras.ops.convert_to_numpy(model(inputs, training=False)) - inputs
        errors.append(np.square(difference).reshape(len(inputs), -1).mean(axis=1))
    return np.concatenate(errors)


class _Curve:
    """Scores, sorted once for the areas of many resamples."""

    def __init__(self, anomalous, scores):
        values, self._place = np.unique(scores, return_inverse=True)
        self._count = len(values)
        self._anomalous = anomalous

    def area(self, counts=None):
        counts = np.ones(len(self._place)) if counts is None else counts
        high, low = (np.bincount(self._place, counts * chosen, self._count) for chosen in (self._anomalous, ~self._anomalous))
        below = np.cumsum(low) - low / 2
        return float((high * below).sum() / (high.sum() * low.sum()))


def _section(figures, options, metadata):
    low, high = figures["interval"]
    names = [str(name) for name in sorted(figures["classes"], key=lambda name: (len(name), name))]
    row = ("AUROC", *(f"{figures['classes'][name]:.1f}" for name in names), f"{figures['auroc']:.2f}")
    text = (
        f"In percent. For each class, a new model of this recipe is trained on images of this class alone, for "
        f"{options.get('epochs', 20)} epochs. The reconstruction error of a test image is its anomaly score. This measures the "
        f"recipe, not the weights of this preset. 95 % bootstrap confidence interval of the mean: {low:.2f} to {high:.2f}. "
        "`keras-sae evaluate` accepts the mean within 1 and each class within 3, because training differs between machines."
    )
    return ["### Anomaly detection: area under the ROC curve", "", *table(("class", *names, "mean"), [row]), "", text, ""]


SUITE = Suite(
    anomaly,
    _section,
    unit="",
    higher_is_better=True,
    agrees=within({"classes": 3, "auroc": 1, "interval": 1}),
    figures=lambda options: ("auroc", "classes.*"),
    reads_labels=lambda options: True,
)
