import hashlib
import os
import platform
from pathlib import Path

import keras
import numpy as np

from keras_sae import evaluation, presets
from keras_sae.datasets import load_arrays
from keras_sae.training.card import render
from keras_sae.training.recipe import from_data
from keras_sae.training.train import CHECKPOINT, read_run

PRESET = "preset"


def publish(output, data_dir=None, report=None):
    """Makes a preset of a finished run: measures the model, and writes weights, metadata and card to `output/preset`.

    Args:
        output: Directory of a run of `train`.
        data_dir: Folder of the TFDS data.
        report: Called with a sentence before each step that takes long, such as `print`.

    Returns:
        `pathlib.Path` of the preset.
    """
    output = Path(output)
    run = read_run(output)
    recipe = from_data(run["recipe"])
    if run["epochs_done"] < recipe.epochs:
        raise ValueError(
            f"The run in {str(output)!r} has done {run['epochs_done']} of {recipe.epochs} epochs. Finish it by `--resume`."
        )
    model = keras.models.load_model(output / CHECKPOINT)
    train_data, test_data = read_data(recipe, data_dir)
    metrics = evaluation.evaluate(model, train_data, test_data, report=report, **recipe.probe)
    metadata = {
        "name": recipe.name,
        "title": recipe.title,
        "recipe": recipe.as_data(),
        "data": {
            **recipe.data,
            "licence": recipe.data.get("licence", "not stated"),
            "train_examples": len(train_data[0]),
            "test_examples": len(test_data[0]),
            "train_sha256": checksum(*train_data),
            "test_sha256": checksum(*test_data),
        },
        "metrics": metrics,
        "hardware": _hardware(),
        "seconds": round(run["seconds"]),
    }
    directory = output / PRESET
    presets.save(
        model,
        directory,
        metadata=metadata,
        examples=test_data[0][:8].astype("float32") / np.float32(255),
        card=render,
    )
    return directory


def read_data(recipe, data_dir=None):
    """The training and test pairs `(images, labels)` of a recipe."""
    return tuple(load_arrays(recipe.data["name"], recipe.data[split], data_dir) for split in ("train", "test"))


def checksum(images, labels):
    """SHA-256 of the pixels and labels, in order."""
    digest = hashlib.sha256(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return digest.hexdigest()


def _hardware():
    kinds = {"AMD64": "x86_64"}
    return f"{os.cpu_count()} CPU cores ({kinds.get(platform.machine(), platform.machine())})"
