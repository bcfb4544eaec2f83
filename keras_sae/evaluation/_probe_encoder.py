import contextlib
import hashlib
import math

import keras
import numpy as np

from keras_sae._checks import nearest
from keras_sae._markdown import table
from keras_sae.evaluation._dictionaries import start_from
from keras_sae.evaluation._encode import as_input
from keras_sae.evaluation._feature_file import features_on_disk, rows_of
from keras_sae.evaluation._pca import principal_components
from keras_sae.evaluation._probe import FEW_LABELS_REGULARISATIONS, REGULARISATIONS, Probe, error_text, held_out_of
from keras_sae.evaluation._readout import in_words
from keras_sae.evaluation._suite import Suite, check_labels, within
from keras_sae.layers import AdaptedLayer

# Features with more entries go to a temporary file.
_MOST_IN_MEMORY = 500_000_000
_BASELINES = {
    "samples": "random samples as units",
    "k_means": "centres of k-means as units",
    "random": "random features",
    "pca": "PCA",
    "raw_pixels": "raw pixels",
}
_OF_DATA = ("pca", "raw_pixels")  # they do not depend on the model, but for the number of components


def probe_encoder(
    model,
    train,
    test,
    *,
    validation=10_000,
    C=REGULARISATIONS,
    iterations=150,
    few_labels=(100, 1000),
    draws=5,
    seed=0,
    flips=False,
    baselines=("random", "pca", "raw_pixels"),
    report=None,
    cache=None,
):
    """Probes the features of a model with all labels and with few, next to raw pixels, PCA and random features.

    The probe reads `model.features` and nothing else. The cross-entropy of held-out training images chooses its penalty: their
    errors are often nearly as many with two penalties, so that rounding would choose. PCA has as many components as there are
    features, or as many as there are. Random features are those of the same model with untrained weights; what layers learn
    from data without training, such as a whitening, they share.

    Features that do not fit into memory are kept in a temporary file, with the same result: 60,000 x 12,800 features take 3 GB
    of disk.

    For few labels, the same number of images of each class is drawn, `draws` times; a `seed` fixes the draws. All draws share
    one penalty, which the cross-entropy of a held-out fifth of each draw chooses; then a classifier is fitted to each whole
    draw, until it converges. Fits to more than 3,000 images, mirror images counted, have `iterations` as those to all labels.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        validation, C, iterations: As in `probe`, for the fits to all labels.
        few_labels: List of integers, numbers of labels.
        draws: Integer, at least 1. With few labels, errors are averaged over this many draws.
        seed: Integer. Fixes draws and random features.
        flips: Whether horizontal mirror images of the training images are trained on too, those of held-out images excepted.
            All baselines get them.
        baselines: List of what is probed too: `"random"`, the same model with random weights; `"samples"` and `"k_means"`,
            the same model with random samples, such as random patches, or the centres of k-means as units of each level, all
            less the mean sample; `"pca"`; `"raw_pixels"`.
        report: Function called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary that keeps the figures of raw pixels and PCA for later calls with the same data.

    Returns:
        Dictionary of plain data: `error`, `interval` and `C` as in `probe`; `features`, their number; `labels_100` and so on,
        dictionaries of `error`, `interval` (over test images and draws) and `C`; and for each of the `baselines` a dictionary
        of the same figures, that of `pca` with its `components`.
    """
    report = report or (lambda sentence: None)
    check_labels("A probe predicts labels", train, test)
    (train_x, train_y), (test_x, test_y) = ((np.asarray(x), np.asarray(y)) for x, y in (train, test))
    if flips and train_x.ndim != 4:
        raise ValueError(
            "`flips` adds mirror images, so inputs must be images `(n, height, width, channels)`. "
            f"Received: inputs of shape {train_x.shape}."
        )
    choice = {"validation": validation, "C": tuple(C), "iterations": iterations}

    held_out = held_out_of(len(train_x), validation)

    def measured(function, width):
        with contextlib.ExitStack() as stack:

            def read(x, mirrored):
                if mirrored or len(x) * width > _MOST_IN_MEMORY:
                    return stack.enter_context(features_on_disk(function, x, mirrored, held_out=held_out if mirrored else 0))
                return np.concatenate(list(rows_of(function, x)))

            probe, codes = Probe(read(train_x, flips), train_y, mirrored=flips, **choice), read(test_x, False)
            of_few = [(n, FEW_LABELS_REGULARISATIONS) for n in few_labels]
            few = {f"labels_{n}": probe.measure_with(n, codes, test_y, draws, values, seed) for n, values in of_few}
            return {**probe.measure(codes, test_y), **few}

    report(f"Logistic regression on the features of {len(train_x):,} training images ...")
    width = math.prod(model.features.compute_output_shape((1, *train_x.shape[1:]))[1:])
    result = {**measured(model.features, width), "features": width}
    for kind in _BASELINES:
        if kind in baselines and kind not in _OF_DATA:
            report(f"The same on {_BASELINES[kind]} ...")
            other = untrained(model, seed, train_x, kind)
            result[kind] = measured(other.features, width)

    # All that the figures of a baseline of the data depend on, besides its width.
    key = (_fingerprint(train_x, train_y, test_x, test_y), *choice.values(), tuple(few_labels), draws, seed, flips)
    of_data = [kind for kind in _OF_DATA if kind in baselines]
    return {**result, **_baselines_of(of_data, train_x, width, measured, key, {} if cache is None else cache, report)}


def _baselines_of(kinds, train_x, width, measured, key, kept, report):
    """The figures of baselines that do not depend on the model, which are kept for later models."""
    pixels, figures = math.prod(train_x.shape[1:]), {}
    components = min(width, len(train_x), pixels)
    for kind in kinds:
        whole = ("pca", components, *key) if kind == "pca" else (kind, *key)
        if whole not in kept and kind == "pca":
            report(f"The same on {components} principal components ...")
            pca = principal_components(as_input(train_x).astype("float32"), components)
            kept[whole] = {**measured(pca.coefficients, components), "components": components}
        elif whole not in kept:
            report("The same on raw pixels ...")
            kept[whole] = measured(np.asarray, pixels)
        figures[kind] = kept[whole]
    return figures


def untrained(model, seed, x, units="random"):
    """A model of the same architecture with new random weights, and what its layers learn from data as in `model`.

    Args:
        x: Training inputs, from which layers of `features` learn.
        units: `"random"`, or what `start_from` takes.
    """
    keras.utils.set_random_seed(seed)
    new = type(model).from_config(model.get_config())
    for layer, trained in zip(new.encoder.layers, model.encoder.layers, strict=True):
        if isinstance(layer, AdaptedLayer):
            layer.set_weights(trained.get_weights())
    if units != "random":
        start_from(units, new, x, seed)
    new.adapt_features(x)
    return new


def _fingerprint(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _section(figures, options, metadata):
    few = sorted((key for key in figures if key.startswith("labels_")), key=lambda key: -int(key.split("_")[1]))
    kinds = {f"this model, {figures['features']} features": figures}
    for name, words in _BASELINES.items():
        if name not in figures:
            continue
        components = f", {figures[name]['components']} components" if "components" in figures[name] else ""
        kinds[words + components] = figures[name]
    rows = [(kind, error_text(each), *(error_text(each[key]) for key in few)) for kind, each in kinds.items()]
    every = f"all {metadata['data']['train_examples']:,} labels"
    header = ("features", every, *(f"{int(key.split('_')[1]):,} labels" for key in few))
    flips = ", of training images and their horizontal mirror images" if options.get("flips") else ""
    other = "Random features come from the same model before training. " if "random" in figures else ""
    if "samples" in figures or "k_means" in figures:
        other += (
            "Random samples are what the units read at random places of training data; k-means learns from such samples. Both "
            "are units of the same model, read in the same way, and respond to what deviates from the mean of the samples. "
        )
    text = (
        f"Multinomial logistic regression on frozen features{flips}. Its penalty is chosen by the cross-entropy of "
        f"{options.get('validation', 10_000):,} held-out training images; then it is fitted to all of them. It reads "
        f"{in_words(metadata)}. {other}"
        "With few labels, each class has the same number of them, and errors are averaged over several draws."
    )
    return ["### Probe: test error", "", *table(header, rows), "", text, ""]


def _check(options, shape):
    for name in options.get("baselines", ()):
        if name not in _BASELINES:
            raise ValueError(
                f"`baselines` lists some of {', '.join(_BASELINES)}. {nearest(name, _BASELINES)}Received: {name!r}."
            )


def _paths(options):
    few = options.get("few_labels", SUITE.defaults["few_labels"])
    errors = ("error", *(f"labels_{n}.error" for n in few))
    baselines = options.get("baselines", SUITE.defaults["baselines"])
    return (*errors, *(f"{baseline}.{error}" for baseline in baselines for error in errors))


def _tolerance(path, card):
    """By how many percentage points another processor may measure an error, or an end of its interval, differently.

    There float32 sums differ, and with them where the regression stops and which of two good penalties it gets. So it is a
    third of the width of the card's interval, and 0.1 where that is more.
    """
    of = path[: path.index("interval")] if "interval" in path else path[:-1]
    low, high = (card.get((*of, "interval", end), 0) for end in "01")
    return max(0.1, (high - low) / 3)


SUITE = Suite(
    probe_encoder,
    _section,
    baselines=tuple(_BASELINES),
    choices=frozenset({"C", "encoding", "components"}),
    agrees=within({"error": _tolerance, "interval": _tolerance}),
    figures=_paths,
    check=_check,
    reads_labels=lambda options: True,
    needs_sklearn=lambda options: True,
)
