import hashlib
import math

import keras
import numpy as np

from keras_sae.evaluation._code_statistics import as_input, encode
from keras_sae.evaluation._pca import principal_components
from keras_sae.evaluation._probe import FEW_LABELS_REGULARISATIONS, REGULARISATIONS, Probe
from keras_sae.evaluation._readout import reader


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
    """Probes the codes of an encoder with all labels and with few, beside raw pixels, PCA and random features.

    What is read of the encoder, and the penalty of the probe, are chosen on training images that are held out. PCA has as many
    components as features are read, or as many as there are. Random features are the same encoder and the same reading with
    weights that were never trained.

    With few labels, as many images of each class are drawn, `draws` times, always the same ones for a `seed`. One penalty is
    taken for all draws, that with the lowest error on a fifth of each draw that was held out; then each is fitted to all of
    its draw. No other label is looked at, but for those that chose what is read.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        encodings: List of dictionaries of arguments of `reader`, one of which is chosen. By default the code as it is.
        validation, C, iterations: As in `probe`.
        few_labels: List of integers, numbers of labels.
        draws: Integer, at least 1. Draws of so few labels that errors are averaged over.
        seed: Integer, of the draws and of the random features.
        report: Called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary in which figures of raw pixels and PCA are kept for a later call with the same data.

    Returns:
        Dictionary of plain data: `error`, `interval` and `C` as of `probe`; `encoding`, what was read; `features`, how many;
        `labels_100` and so on, dictionaries of `error`, `interval` (over test images and draws) and `C`; and `raw_pixels`,
        `pca` (with its `components`) and `random`, dictionaries of all these figures.
    """
    report = report or (lambda sentence: None)
    if any(labels is None for _, labels in (train, test)):
        raise ValueError("A probe predicts labels, and there are none. Leave it out for data without labels.")
    (train_x, train_y), (test_x, test_y) = ((np.asarray(x), np.asarray(y)) for x, y in (train, test))
    choice = {"validation": validation, "C": tuple(C), "iterations": iterations}

    def figures(probe, codes):
        few = {f"labels_{n}": probe.measure_with(n, codes, test_y, draws, FEW_LABELS_REGULARISATIONS, seed) for n in few_labels}
        return {**probe.measure(codes, test_y), **few}

    best = None
    for encoding in encodings:
        report(f"Logistic regression on the codes of {len(train_x):,} training images{_told(encoding)} ...")
        probe = Probe(encode(reader(model, **encoding), train_x), train_y, **choice)
        if best is None or probe.validation_error < best[0].validation_error:
            best = probe, encoding
    probe, encoding = best
    codes = encode(reader(model, **encoding), test_x)
    width = math.prod(codes.shape[1:])
    result = {**figures(probe, codes), "encoding": dict(encoding), "features": width}
    del best, probe, codes

    report("The same on random features: the encoder as it was before training ...")
    random = reader(untrained(model, seed), **encoding)
    result["random"] = figures(Probe(encode(random, train_x), train_y, **choice), encode(random, test_x))

    kept = {} if cache is None else cache
    # What the figures of a baseline depend on, besides how wide it is.
    key = (_fingerprint(train_x, train_y, test_x, test_y), *choice.values(), tuple(few_labels), draws, seed)
    if ("raw_pixels", *key) not in kept:
        report("The same on raw pixels ...")
        kept["raw_pixels", *key] = figures(Probe(as_input(train_x), train_y, **choice), as_input(test_x))
    components = min(width, len(train_x), math.prod(train_x.shape[1:]))
    if ("pca", components, *key) not in kept:
        report(f"The same on {components} principal components ...")
        pca = principal_components(as_input(train_x).astype("float32"), components)
        train_codes, test_codes = (pca.coefficients(as_input(x)) for x in (train_x, test_x))
        kept["pca", components, *key] = {**figures(Probe(train_codes, train_y, **choice), test_codes), "components": components}
    result["raw_pixels"], result["pca"] = kept["raw_pixels", *key], kept["pca", components, *key]
    return result


def untrained(model, seed):
    """A model of the same architecture, with weights as they are before training."""
    keras.utils.set_random_seed(seed)
    return type(model).from_config(model.get_config())


def _told(encoding):
    return f", read as {encoding}" if encoding else ""


def _fingerprint(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
