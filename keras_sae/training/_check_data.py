import dataclasses
import importlib.util

import numpy as np

from keras_sae.datasets import OnDisk, load_arrays
from keras_sae.evaluation import SUITES


def check_data(recipe, model, train, data_dir=None, validation=None):
    """Checks before the first step that a run can end with a card: the test data, the labels, and the options of the suites.

    Args:
        recipe: A `Recipe`.
        model: The model that is built from it.
        train: The pair `(images, labels)` to train on.
        data_dir: Folder of the data.
        validation: `(images,)`, or None.

    Raises:
        ValueError: The recipe does not fit its data.
        ImportError: A suite needs a package that is not installed.
    """
    test = load_arrays(recipe.data["name"], recipe.data["test"], data_dir, **recipe.reading)
    splits = {"train": train, "test": test, **({"validation": (*validation, None)} if validation else {})}
    shape = tuple(train[0].shape[1:])
    for key, (images, _) in splits.items():
        if tuple(images.shape[1:]) != shape:
            raise ValueError(
                f"All images of a recipe have the same shape. Received: {shape} in data.train = {recipe.data['train']!r}, and "
                f"{tuple(images.shape[1:])} in data.{key} = {recipe.data[key]!r} of {recipe.data['name']!r}."
            )
        _check_finite(images, f"data.{key} = {recipe.data[key]!r} of {recipe.data['name']!r}")
    _check_suites(recipe, model, train[0])
    reading = [f"section [{name}]" for name, options in recipe.suites().items() if SUITES[name].reads_labels(options)]
    reading += [f"model ({type(model).__name__} with a supervised penalty)"] if model.supervised else []
    for key in ("train", "test"):
        _check_labels(splits[key][1], f"data.{key} = {recipe.data[key]!r} of {recipe.data['name']!r}", reading)


def _check_finite(images, where):
    if isinstance(images, OnDisk) or not np.issubdtype(images.dtype, np.inexact):
        return  # reading images from disk twice takes too long; the loss shows what is not finite
    bad = ~np.isfinite(images.reshape(len(images), -1)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(bad):,} images have NaN or infinite values, the first at index {int(bad.argmax())} of "
            f"{where}. Remove them, or replace the values."
        )


def _check_suites(recipe, model, images):
    """Checks the options of the suites, and that what they need is there."""
    for name, options in recipe.suites().items():
        suite = SUITES[name]
        suite.check(options, tuple(images.shape[1:]))
        if "optimizer" in options:
            dataclasses.replace(recipe, optimizer=options["optimizer"]).compile_arguments(model)
        if isinstance(images, OnDisk) and "train" in suite.needs:
            raise ValueError(
                f"The section [{name}] reads all training images at once, but {len(images):,} images of shape "
                f"{images.shape[1:]} stay on disk. Remove the section, or train on a part, such as data.train = 'train[:10%]'."
            )
        if suite.needs_sklearn(options) and not all(map(importlib.util.find_spec, ("sklearn", "scipy", "threadpoolctl"))):
            raise ImportError(
                f'The section [{name}] needs scikit-learn: pip install "keras_sae[evaluation]". Or remove the section.'
            )


def _check_labels(labels, where, reading):
    """Checks that labels are one integer for each image, and that they are there if something reads them."""
    if labels is None:
        if reading:
            raise ValueError(f"The {reading[0]} of the recipe reads labels, and {where} has none. Remove it, or add labels.")
        return
    kind = np.dtype(labels.dtype).kind
    if kind not in "iubf":
        raise ValueError(
            f"Labels are integers. Received: {'text' if kind in 'USO' else labels.dtype} in {where}. Number the classes: "
            "`classes, labels = numpy.unique(texts, return_inverse=True)`."
        )
    if not reading:
        return
    if len(labels.shape) != 1:
        raise ValueError(
            f"Labels are one integer for each image, so of shape (n,). Received: shape {tuple(labels.shape)} in {where}. "
            "Convert one-hot labels by `labels.argmax(axis=-1)`, and a column by `labels[:, 0]`."
        )
    if kind == "f" and not isinstance(labels, OnDisk) and not (np.isfinite(labels) & (labels == np.round(labels))).all():
        raise ValueError(f"The {reading[0]} of the recipe reads labels, which are integers. Received: others in {where}.")
