"""The sections of a recipe, and which keys each of them has."""

import fnmatch
import inspect

import keras

from keras_sae._checks import check_integer, check_number
from keras_sae.callbacks import DeadUnitMonitor
from keras_sae.datasets import OPTIONS
from keras_sae.evaluation import SUITES
from keras_sae.training._objects import near

_TEXTS = ("title", "mechanism", "source", "use", "notes", "caption", "name", "loss")
# Options of suites that count something of which there is at least one. Others may be 0.
_AT_LEAST_ONE = {"validation", "iterations", "draws", "batch_size"}


def check_sections(recipe):
    """Checks the sections of a recipe without creating any object.

    Raises:
        ValueError: A key is unknown or missing, or one section needs another. The message suggests similar keys.
    """
    for key, (required, optional) in SECTIONS.items():
        section = recipe.suite_options.get(key) if key in SUITES else getattr(recipe, key)
        if section is not None:
            _check_keys(key, section, required, optional)
    texts = {key: getattr(recipe, key) for key in _TEXTS} | {
        f"data.{key}": value for key, value in recipe.data.items() if key not in (*OPTIONS, "patches")
    }
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"`{key}` must be text. Received: {key} = {value!r}.")
    for key in ("pretrain", "refit_decoder"):
        epochs = (getattr(recipe, key) or {}).get("epochs", 1)
        for each in epochs if isinstance(epochs, list) and key == "pretrain" else [epochs]:
            check_integer(f"{key}.epochs", each, "is the number of passes over the training images")
    if recipe.keep_best not in (None, True, False):
        raise ValueError(f"`keep_best` must be true or false. Received: {recipe.keep_best!r}.")
    if recipe.start not in (None, "samples", "scaled_samples"):
        raise ValueError(f'`start` is "samples" or "scaled_samples", or left out. Received: start={recipe.start!r}.')
    if "patches" in recipe.data:
        _check_keys("data.patches", recipe.data["patches"], {"size", "count"}, set())
        if "validation" in recipe.data or recipe.pretrain:
            raise ValueError(
                "`data.patches` trains one level on patches, without `validation` or `pretrain`. Remove one of them."
            )
    if recipe.keep_best and "validation" not in recipe.data:
        raise ValueError(
            "`keep_best` chooses an epoch by images that are not trained on. Give `data` a `validation` split, such as "
            "train = 'train[:50000]' and validation = 'train[50000:]'."
        )
    if "restore_best_weights" in (recipe.early_stopping or {}):
        raise ValueError(
            "A resumed run cannot restore the best weights: remove `restore_best_weights`, and set `keep_best = true` instead."
        )
    for name, options in recipe.suite_options.items():
        for key, value in options.items():
            _check_option(f"{name}.{key}", value, SUITES[name].defaults[key])
    _check_published(recipe)


def _check_published(recipe):
    """Checks the rows of `published`: their keys, types, and that what they are compared with is measured."""
    if not isinstance(recipe.published, list):
        raise ValueError(f"`published` must be a list of tables. Received: {recipe.published!r}.")
    suites = recipe.suites()
    for row in recipe.published:
        _check_keys("published", row, {"what", "value", "source"}, {"metric"})
        check_number("published.value", row["value"], "is the published figure")
        for key in set(row) - {"value"}:
            if not isinstance(row[key], str):
                raise ValueError(f"`published.{key}` must be text. Received: {key} = {row[key]!r}.")
        if "metric" not in row:
            continue
        suite, _, path = row["metric"].partition(".")
        if suite not in suites:
            raise ValueError(
                f"A published figure is compared with {row['metric']!r}, but the recipe has no section [{suite}] that measures "
                "it. Add the section, or remove `metric`."
            )
        measured = SUITES[suite].figures(suites[suite])
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in measured):
            raise ValueError(
                f"A published figure is compared with {row['metric']!r}, which the section [{suite}] does not measure. "
                f"{near(row['metric'], [f'{suite}.{each}' for each in measured])}"
            )


def _check_option(name, value, default):
    """Checks the type of a suite's option by its default."""
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        check_integer(name, value, "is an option of a suite", at_least=int(name.split(".")[1] in _AT_LEAST_ONE))
        return
    elif isinstance(default, float):
        check_number(name, value, "is an option of a suite", at_least=0)
        return
    elif isinstance(default, tuple) and any(isinstance(each, str) for each in default):
        fits, wanted = isinstance(value, list) and all(isinstance(each, str) for each in value), "a list of texts"
    elif isinstance(default, tuple):
        numbers = isinstance(value, list) and all(isinstance(each, int | float) and each > 0 for each in value)
        of_floats = any(isinstance(each, float) for each in default)
        whole = of_floats or (numbers and all(isinstance(each, int) for each in value))
        fits, wanted = numbers and whole and value, f"a list of {'' if of_floats else 'whole '}numbers above 0"
    elif isinstance(default, str):
        fits, wanted = isinstance(value, str), "text"
    else:
        fits, wanted = isinstance(value, dict), "a table"
    if not fits:
        raise ValueError(f"`{name}` must be {wanted}. Received: {value!r}.")


def _check_keys(key, section, required, optional):
    if not isinstance(section, dict):
        raise ValueError(f"`{key}` must be a table. Received: {section!r}.")
    for name in section:
        if optional is not None and name not in required | optional:
            raise ValueError(f"The section `{key}` has no key {name!r}. {near(name, required | optional)}")
    if required - set(section):
        raise ValueError(f"The section `{key}` needs {', '.join(sorted(required - set(section)))}. Received: {section}.")


def _arguments(function):
    return set(inspect.signature(function).parameters)


# For each section, its required and its optional keys. None: the class in the section decides.
SECTIONS = {
    "data": ({"name", "train", "test"}, {"licence", "validation", "patches", "shown", *OPTIONS}),
    "model": ({"class"}, None),
    "optimizer": ({"class"}, None),
    "pretrain": ({"epochs"}, {"optimizer"}),
    "refit_decoder": ({"epochs"}, {"optimizer"}),
    **{name: (set(), suite.options) for name, suite in SUITES.items()},
    "k_schedule": ({"start", "epochs"}, set()),
    "penalty_schedule": ({"start", "epochs"}, {"penalty"}),
    "dead_units": (set(), _arguments(DeadUnitMonitor) - {"x"} | {"images"}),
    "early_stopping": ({"patience"}, _arguments(keras.callbacks.EarlyStopping)),
}
