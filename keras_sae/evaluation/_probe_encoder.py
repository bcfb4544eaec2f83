import hashlib
import math

import keras
import numpy as np

from keras_sae._markdown import table
from keras_sae.evaluation._encode import as_input, encode
from keras_sae.evaluation._pca import principal_components
from keras_sae.evaluation._probe import FEW_LABELS_REGULARISATIONS, REGULARISATIONS, Probe, error_text
from keras_sae.evaluation._readout import in_words, readout
from keras_sae.evaluation._suite import Suite, check_labels, within

_BASELINES = {"random": "random features", "pca": "PCA", "raw_pixels": "raw pixels"}


def probe_encoder(
    model,
    train,
    test,
    *,
    encodings=({},),
    validation=10_000,
    C=REGULARISATIONS,
    iterations=150,
    few_labels=(100, 1000),
    draws=5,
    seed=0,
    report=None,
    cache=None,
):
    """Probes the codes of an encoder with all labels and with few, next to raw pixels, PCA and random features.

    The encoding and the penalty of the probe are chosen on held-out training images. PCA has as many components as the encoding
    has features, or as many as there are. Random features are the same encoding of the same encoder with untrained weights.

    For few labels, the same number of images of each class is drawn, `draws` times; a `seed` fixes the draws. All draws share
    one penalty, the one with the lowest error on a held-out fifth of each draw; then a classifier is fitted to each whole draw.
    Only the choice of the encoding uses other labels.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        encodings: List of dictionaries of arguments of `readout` to choose from. By default the code itself.
        validation, C, iterations: As in `probe`.
        few_labels: List of integers, numbers of labels.
        draws: Integer, at least 1. With few labels, errors are averaged over this many draws.
        seed: Integer. Fixes draws and random features.
        report: Function called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary that keeps the figures of raw pixels and PCA for later calls with the same data.

    Returns:
        Dictionary of plain data: `error`, `interval` and `C` as in `probe`; `encoding`, the chosen one; `features`, their
        number; `labels_100` and so on, dictionaries of `error`, `interval` (over test images and draws) and `C`; and
        `raw_pixels`, `pca` (with its `components`) and `random`, dictionaries of the same figures.
    """
    report = report or (lambda sentence: None)
    check_labels("A probe predicts labels", train, test)
    (train_x, train_y), (test_x, test_y) = ((np.asarray(x), np.asarray(y)) for x, y in (train, test))
    choice = {"validation": validation, "C": tuple(C), "iterations": iterations}

    def figures(probe, codes):
        few = {f"labels_{n}": probe.measure_with(n, codes, test_y, draws, FEW_LABELS_REGULARISATIONS, seed) for n in few_labels}
        return {**probe.measure(codes, test_y), **few}

    def baseline(of_train, of_test):
        return figures(Probe(of_train, train_y, **choice), of_test)

    probe, encoding = _best_encoding(model, train_x, train_y, encodings, choice, report)
    codes = encode(readout(model, **encoding), test_x)
    width = math.prod(codes.shape[1:])
    result = {**figures(probe, codes), "encoding": dict(encoding), "features": width}
    del probe, codes

    report("The same on random features: the encoder before training ...")
    random = readout(untrained(model, seed), **encoding)
    result["random"] = baseline(encode(random, train_x), encode(random, test_x))

    kept = {} if cache is None else cache
    # All that the figures of a baseline depend on, besides its width.
    key = (_fingerprint(train_x, train_y, test_x, test_y), *choice.values(), tuple(few_labels), draws, seed)
    if ("raw_pixels", *key) not in kept:
        report("The same on raw pixels ...")
        kept["raw_pixels", *key] = baseline(as_input(train_x), as_input(test_x))
    components = min(width, len(train_x), math.prod(train_x.shape[1:]))
    if ("pca", components, *key) not in kept:
        report(f"The same on {components} principal components ...")
        pca = principal_components(as_input(train_x).astype("float32"), components)
        measured = baseline(*(pca.coefficients(as_input(x)) for x in (train_x, test_x)))
        kept["pca", components, *key] = {**measured, "components": components}
    return {**result, "raw_pixels": kept["raw_pixels", *key], "pca": kept["pca", components, *key]}


def _best_encoding(model, x, labels, encodings, choice, report):
    """The encoding with the lowest error on held-out images, and its probe."""
    best = None
    for encoding in encodings:
        read = f", read as {encoding}" if encoding else ""
        report(f"Logistic regression on the codes of {len(x):,} training images{read} ...")
        probe = Probe(encode(readout(model, **encoding), x), labels, **choice)
        if best is None or probe.validation_error < best[0].validation_error:
            best = probe, encoding
    return best


def untrained(model, seed):
    """A model of the same architecture with new random weights."""
    keras.utils.set_random_seed(seed)
    return type(model).from_config(model.get_config())


def _fingerprint(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _section(figures, options, metadata):
    few = sorted((key for key in figures if key.startswith("labels_")), key=lambda key: -int(key.split("_")[1]))
    kinds = {f"codes, {figures['features']} features": figures}
    for name, words in _BASELINES.items():
        components = f", {figures[name]['components']} components" if "components" in figures[name] else ""
        kinds[words + components] = figures[name]
    rows = [(kind, error_text(each), *(error_text(each[key]) for key in few)) for kind, each in kinds.items()]
    every = f"all {metadata['data']['train_examples']:,} labels"
    header = ("features", every, *(f"{int(key.split('_')[1]):,} labels" for key in few))
    tried = len(options.get("encodings", [{}]))
    chosen = f", chosen from {tried} encodings on the same held-out images" if tried > 1 else ""
    text = (
        "Multinomial logistic regression on frozen features. Its penalty is chosen on "
        f"{options.get('validation', 10_000):,} held-out training images; then it is fitted to all of them. It reads "
        f"{in_words(figures['encoding'])}{chosen}. Random features come from the same encoder before training. "
        "With few labels, each class has the same number of them, and errors are averaged over several draws."
    )
    return ["### Probe: test error", "", *table(header, rows), "", text, ""]


def _paths(options):
    few = options.get("few_labels", SUITE.defaults["few_labels"])
    errors = ("error", *(f"labels_{n}.error" for n in few))
    return (*errors, *(f"{baseline}.{error}" for baseline in _BASELINES for error in errors))


SUITE = Suite(
    probe_encoder,
    _section,
    encodings=lambda options: options.get("encodings", []),
    baselines=tuple(_BASELINES),
    choices=frozenset({"C", "encoding", "components"}),
    agrees=within({"error": 0.1, "interval": 0.1}),  # percentage points
    figures=_paths,
    reads_labels=lambda options: True,
    needs_sklearn=lambda options: True,
)
