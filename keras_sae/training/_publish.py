import dataclasses
import math
import os
import platform
from pathlib import Path

import numpy as np

from keras_sae import evaluation, presets
from keras_sae._data_files import is_data
from keras_sae.datasets import described, load_arrays, load_training
from keras_sae.models import SparseAutoencoder
from keras_sae.training import _state
from keras_sae.training._card import PICTURE, render
from keras_sae.training._checksum import checksum, data_sha256
from keras_sae.training._objects import make
from keras_sae.training._pictures import caption_of, features_picture
from keras_sae.training._recipe import OF_THE_CARD, Recipe, from_data, load_recipe
from keras_sae.training._recipe_file import recipe_names
from keras_sae.training._run import BEST, CHECKPOINT, check_data_of_run, check_length, read_run
from keras_sae.training._train import adapt_features, finish, in_training

PRESET = "preset"
# In reference.npz. Maps are large, and dense ones do not compress.
_EXAMPLES, _EXAMPLES_OF_MAPS = 8, 2
_MOST_OF_A_CODE, _MOST_OF_MAPS = 60_000, 20_000
_OF_TRAINING = ("hardware", "seconds")


def publish(output, data_dir=None, report=None, cache=None):
    """Makes a preset of a finished run: measures the model and writes weights, metadata and card to `output/preset`.

    Args:
        output: Directory of a run of `train`.
        data_dir: Folder of the TFDS data.
        report: Function called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary that keeps data, and figures of the data alone, for the next preset.

    Returns:
        `pathlib.Path` of the preset.
    """
    output = Path(output).expanduser()
    run = read_run(output)
    recipe = from_data(run["recipe"])
    data = read_data(recipe, data_dir, cache)
    model = trained_model(output, recipe, data[0][0].shape[1:])
    adapt_features(model, data[0][0])
    if "train" in run.get("data_sha256", {}):
        images, labels = data[0]
        found = data_sha256((images, labels if model.supervised else None))["train"]
        check_data_of_run(run["data_sha256"]["train"], found, "data.train", output)
    metrics = measure(model, recipe, data, report=report, cache=cache)
    of_training = {"hardware": _hardware(), "seconds": round(run["seconds"])}
    return _save(model, output / PRESET, recipe, data, metrics, of_training, data_dir)


def publish_model(model, recipe, directory, data_dir=None, report=None, hardware=None, seconds=None):
    """Makes a preset of a model that was trained by other means than `train`, such as your own loop or another machine.

    Args:
        model: Trained model, of the architecture that the recipe describes.
        recipe: `Recipe`, or the name or file of one. Its data, texts and suites make the card.
        directory: Folder to write the preset to.
        data_dir: Folder of the TFDS data.
        report: As in `publish`.
        hardware: String, what the model was trained on, such as `"one H200"`. Without it the card names no training time.
        seconds: Number of seconds that the training took.

    Returns:
        `pathlib.Path` of the preset.

    Raises:
        ValueError: The model is not the one that the recipe describes, or only one of `hardware` and `seconds` is given.
    """
    if (hardware is None) != (seconds is None):
        raise ValueError(f"Give both `hardware` and `seconds`, or neither. Received: {hardware!r}, {seconds!r}.")
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    data = read_data(recipe, data_dir)
    described_model = recipe.build(data[0][0].shape[1:])
    shapes, expected = ([tuple(weight.shape) for weight in each.weights] for each in (model, described_model))
    if type(model) is not type(described_model) or shapes != expected:
        raise ValueError(
            f"The recipe {recipe.name!r} describes a {type(described_model).__name__} with weights of the shapes {expected}. "
            f"Received: a {type(model).__name__} with {shapes}."
        )
    adapt_features(model, data[0][0])
    metrics = measure(model, recipe, data, report=report)
    of_training = {} if hardware is None else {"hardware": hardware, "seconds": round(seconds)}
    return _save(model, Path(directory).expanduser(), recipe, data, metrics, of_training, data_dir)


def update_preset(preset, data_dir=None, suites=None, report=None, cache=None):
    """Measures a published preset again and writes new metadata and a new card. The weights do not change.

    Use this when a recipe's texts, published figures or suites have changed. If the package ships a recipe with the name of the
    preset, it replaces the recorded one; everything that affects training must be equal.

    Args:
        preset: Name or directory of a preset that `publish` made.
        data_dir, report, cache: As in `evaluate_preset`.
        suites: Names of the suites to measure. Figures of other suites are kept if the recipe still has them. By default all.
            `()` measures nothing and needs no data: the card is rendered from the recorded figures and the recipe's texts.

    Returns:
        `pathlib.Path` of the preset.

    Raises:
        ValueError: The recipe differs in something that affects training, or the preset records no recipe.
    """
    directory = presets.find(preset)
    metadata = recorded(preset)
    recipe = _recipe_now(metadata)
    if suites is not None and len(suites) == 0:
        if _features_of(metadata["recipe"]) != _features_of(recipe.as_data()):
            raise ValueError(
                f"The recipe of {recipe.name!r} has other `features` than the preset, so its figures must be measured again: "
                f"`keras-sae evaluate {recipe.name} --update`."
            )
        metrics = _in_order(metadata["metrics"], recipe)
        description = _description(recipe, metadata.get("parts", {}))
        presets.rewrite(directory, {**metadata, **description, "metrics": metrics}, render)
        return directory
    data = read_data(recipe, data_dir, cache)
    model = _with_features_of(recipe, metadata, SparseAutoencoder.from_preset(preset), data[0][0])
    metrics = _in_order({**metadata["metrics"], **measure(model, recipe, data, suites, report, cache)}, recipe)
    of_training = {key: metadata[key] for key in _OF_TRAINING if key in metadata}
    return _save(model, directory, recipe, data, metrics, of_training, data_dir)


def _features_of(recipe):
    """The features in a recipe as data. They may change after training."""
    return recipe["model"].get("features")


def _with_features_of(recipe, metadata, model, images):
    """The model with the features of a recipe, where those of the preset were others."""
    features = _features_of(recipe.as_data())
    if features == _features_of(metadata["recipe"]):
        return model
    model = model.with_features(make("features", features))
    adapt_features(model, images)
    return model


def _in_order(metrics, recipe):
    """The figures of the recipe's suites, in the order of the card."""
    return {name: metrics[name] for name in recipe.suites() if name in metrics}


def _description(recipe, parts):
    """The metadata that comes from the recipe, with the other `parts` of the preset's name."""
    name = recipe.data["name"]
    parts = {**parts, "data": Path(name).stem if is_data(name) else name, "mechanism": recipe.mechanism}
    return {"name": recipe.name, "title": recipe.title, "parts": parts, "recipe": recipe.as_data()}


def measure(model, recipe, data, suites=None, report=None, cache=None):
    """The figures of a recipe's suites, or of those named in `suites`."""
    chosen = recipe.suites()
    if suites is not None:
        missing = [name for name in suites if name not in chosen]
        if missing:
            raise ValueError(f"The recipe {recipe.name!r} has no suite {missing[0]!r}. It has {', '.join(chosen)}.")
        chosen = {name: options for name, options in chosen.items() if name in suites}
    train, test = data

    def build(optimizer=recipe.optimizer):
        return dataclasses.replace(recipe, optimizer=optimizer).build(train[0].shape[1:])

    return evaluation.evaluate(model, train, test, chosen, build=build, report=report, cache=cache)


def suites_of(preset, as_now=False):
    """Names of the suites on a preset's card, or with `as_now` of those in its current recipe."""
    metadata = recorded(preset)
    return list(_recipe_now(metadata).suites() if as_now else metadata["metrics"])


def recorded(preset):
    """The metadata of a preset that records a recipe and figures."""
    metadata = presets.read_metadata(presets.find(preset))
    if "metrics" not in metadata or "recipe" not in metadata:
        raise ValueError(
            f"The preset {str(preset)!r} records no recipe and no figures to compare with. `publish` makes presets that do."
        )
    return metadata


def _recipe_now(metadata):
    recipe = from_data(metadata["recipe"])
    if recipe.name not in recipe_names():
        return recipe
    now = load_recipe(recipe.name)
    one, other = recipe.as_data(), now.as_data()
    one, other = ({**each, "model": {**each["model"], "features": None}} for each in (one, other))
    changed = [key for key in sorted({*one, *other} - OF_THE_CARD) if one.get(key) != other.get(key)]
    if changed:
        raise ValueError(
            f"The preset {recipe.name!r} was trained with a different recipe: {', '.join(changed)} differ from the recipe of "
            "this name. Train it again."
        )
    return now


def _save(model, directory, recipe, data, metrics, of_training, data_dir):
    (train_x, _), (test_x, _) = data
    shown = evaluation.as_input(_shown(recipe, test_x, data_dir)[:1000])
    picture = features_picture(model, shown)
    metadata = {
        **_description(recipe, {"architecture": model.architecture}),
        "data": {
            **recipe.data,
            **described(recipe.data["name"], data_dir, **recipe.reading),
            "licence": recipe.data.get("licence", "not stated"),
            "dtype": str(np.dtype(train_x.dtype)),
            "train_examples": len(train_x),
            "test_examples": len(test_x),
            "train_sha256": checksum(*data[0]),
            "test_sha256": checksum(*data[1]),
        },
        "metrics": metrics,
        "has_picture": picture is not None,
        **({"caption": caption_of(model, recipe.data.get("shown", "test images"))} if picture else {}),
        **of_training,
    }
    presets.save(
        model,
        directory,
        metadata=metadata,
        examples=_examples(model, shown),
        card=render,
        files={PICTURE: picture} if picture else None,
    )
    return directory


def _examples(model, images):
    """The inputs of reference.npz: few where codes are large, and the middle of images where the model reads any size."""
    shape = model.encoder.output_shape[1:]
    if None not in shape:
        return images[: _EXAMPLES if math.prod(shape) <= _MOST_OF_A_CODE else _EXAMPLES_OF_MAPS]
    images = images[:_EXAMPLES_OF_MAPS]
    while np.count_nonzero(evaluation.encode(model, images)) > _MOST_OF_MAPS:
        images = images[(slice(None), *(slice(size // 4, size // 4 + size // 2) for size in images.shape[1:-1]))]
    return images


def _shown(recipe, images, data_dir):
    """The images that the preset ships: its test images, or those of the data set `data.shown`."""
    if "shown" not in recipe.data:
        return images
    others, _ = load_arrays(recipe.data["shown"], "test", data_dir)
    if others.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"The images of `data.shown` must have the shape of the test images, {tuple(images.shape[1:])}. "
            f"Received: {recipe.data['shown']!r}, whose images have the shape {tuple(others.shape[1:])}."
        )
    return others


def trained_model(output, recipe, input_shape):
    """The model of a finished run: of its last epoch, or of the best epoch if the recipe keeps it."""
    progress, arrays = _state.read(output / CHECKPOINT)
    model = recipe.build(input_shape)
    phases = recipe.phases(model)
    check_length(progress, phases, output)
    level, epochs = phases[progress["phase"]]
    if progress["phase"] + 1 < len(phases) or not (progress["epoch"] >= epochs or progress["stopped_early"]):
        of_phase = f" of {level}" if level else ""
        raise ValueError(
            f"The run in {str(output)!r} has done {progress['epoch']} of {epochs} epochs{of_phase}. Finish it with `--resume`."
        )
    if recipe.best(level):
        _, arrays = _state.read(output / BEST)
    with in_training(recipe, model, level) as trained:
        _state.restore(arrays, model, trained)
        finish(trained)
    return model


def read_data(recipe, data_dir=None, cache=None):
    """The training and test pairs `(images, labels)` of a recipe, kept in `cache`."""
    kept = {} if cache is None else cache
    pairs = []
    for split, read in (("train", load_training), ("test", load_arrays)):
        key = ("arrays", recipe.data["name"], recipe.data[split], data_dir, repr(recipe.reading))
        if key not in kept:
            kept[key] = read(recipe.data["name"], recipe.data[split], data_dir, **recipe.reading)
        pairs.append(kept[key])
    return tuple(pairs)


def _hardware():
    kinds = {"AMD64": "x86_64"}
    return f"{os.cpu_count()} CPU cores ({kinds.get(platform.machine(), platform.machine())})"
