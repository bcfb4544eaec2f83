import keras
import numpy as np

from keras_sae.datasets import batches
from keras_sae.evaluation._bootstrap import bootstrap_interval
from keras_sae.evaluation._code_statistics import as_input


def anomaly(build, train, test, *, epochs=20, batch_size=128, seed=0, report=None):
    """How well autoencoders of one class each tell images of all others from their own, by what they cannot reconstruct.

    For each class a model is trained on its training images alone. The mean squared error of each test image is its score;
    what is reported is the area under the curve (AUROC) with which the score tells the other classes from the one: the
    share of pairs of an image of another class and one of its own in which the former has the higher score.

    Args:
        build: Function that returns a compiled `SparseAutoencoder`, with first weights of its own. It is called for each class.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        epochs: Integer, at least 1. Epochs of training for each class.
        batch_size: Integer.
        seed: Integer, of the order of images.
        report: Called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `auroc`, the mean over classes in percent; `interval`, a list of two: its 95 % interval of a
        bootstrap over the test images; and `classes`, a dictionary from each class, as text, to its own.

    Reference:
        The protocol of Ruff et al., "Deep One-Class Classification", ICML 2018.
    """
    if any(labels is None for _, labels in (train, test)):
        raise ValueError("Each class in turn is what is normal, and there are no labels. Leave it out for data without labels.")
    (x, labels), (test_x, test_labels) = ((np.asarray(images), np.asarray(y)) for images, y in (train, test))
    report = report or (lambda sentence: None)
    classes = np.unique(labels)
    curves = []
    for label in classes:
        model = build()
        own = x[labels == label]
        needs_labels = bool(model.penalties) and model.objective.supervised
        model.fit(
            batches(own, batch_size, seed, labels[labels == label] if needs_labels else None),
            epochs=epochs,
            steps_per_epoch=-(-len(own) // batch_size),
            shuffle=False,  # it is shuffled already
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
    """The share of pairs of an anomalous and a normal example in which the former has the higher score; ties count half.

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
    for start in range(0, len(x), batch_size):
        inputs = as_input(x[start : start + batch_size])
        difference = keras.ops.convert_to_numpy(model(inputs, training=False)) - inputs
        errors.append(np.square(difference).reshape(len(inputs), -1).mean(axis=1))
    return np.concatenate(errors)


class _Curve:
    """Scores sorted once, for the areas of many resamples."""

    def __init__(self, anomalous, scores):
        values, self._place = np.unique(scores, return_inverse=True)
        self._count = len(values)
        self._anomalous = anomalous

    def area(self, counts=None):
        counts = np.ones(len(self._place)) if counts is None else counts
        high, low = (np.bincount(self._place, counts * chosen, self._count) for chosen in (self._anomalous, ~self._anomalous))
        below = np.cumsum(low) - low / 2
        return float((high * below).sum() / (high.sum() * low.sum()))
