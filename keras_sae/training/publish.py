import hashlib
import os
import platform
from pathlib import Path

import numpy as np

from keras_sae import evaluation, presets
from keras_sae.datasets import load_arrays
from keras_sae.training import state
from keras_sae.training.card import render
from keras_sae.training.recipe import from_data
from keras_sae.training.run import BEST, CHECKPOINT, read_run
from keras_sae.training.train import finish, in_training

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
    train_data, test_data = read_data(recipe, data_dir)
    model = trained_model(output, recipe, train_data[0].shape[1:])
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
        examples=evaluation.as_input(test_data[0][:8]),
        card=render,
    )
    return directory


def trained_model(output, recipe, input_shape):
    """The model of a finished run: of its last epoch, or of the best, where the recipe keeps that."""
    progress, arrays = state.read(output / CHECKPOINT)
    model = recipe.build(input_shape)
    phases = recipe.phases(model)
    level, epochs = phases[progress["phase"]]
    if progress["phase"] + 1 < len(phases) or not (progress["epoch"] >= epochs or progress["stopped_early"]):
        of_phase = f" of {level}" if level else ""
        raise ValueError(
            f"The run in {str(output)!r} has done {progress['epoch']} of {epochs} epochs{of_phase}. Finish it by `--resume`."
        )
    if recipe.best(level):
        _, arrays = state.read(output / BEST)
    with in_training(recipe, model, level) as trained:
        state.restore(arrays, model, trained)
        finish(trained)
    return model


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
