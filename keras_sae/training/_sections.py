"""The sections of a recipe, and which keys each of them has."""

import inspect

import keras

from keras_sae.callbacks import DeadUnitMonitor
from keras_sae.evaluation import SUITES, readout
from keras_sae.training._objects import near


def check_sections(recipe):
    """Checks the sections of a recipe without creating any object.

    Raises:
        ValueError: A key is unknown or missing, or one section needs another. The message suggests similar keys.
    """
    for key, (required, optional) in SECTIONS.items():
        section = recipe.suite_options.get(key) if key in SUITES else getattr(recipe, key)
        if section is not None:
            _check_keys(key, section, required, optional)
    if recipe.keep_best not in (None, True, False):
        raise ValueError(f"`keep_best` must be true or false. Received: {recipe.keep_best!r}.")
    if recipe.keep_best and "validation" not in recipe.data:
        raise ValueError(
            "`keep_best` chooses an epoch by images that are not trained on. Give `data` a `validation` split, such as "
            "train = 'train[:50000]' and validation = 'train[50000:]'."
        )
    if "restore_best_weights" in (recipe.early_stopping or {}):
        raise ValueError(
            "A resumed run cannot restore the best weights: remove `restore_best_weights`, and set `keep_best = true` instead."
        )
    of_encodings = _arguments(readout) - {"model"}
    for encoding in recipe.encodings():
        for name in encoding:
            if name not in of_encodings:
                raise ValueError(f"An encoding has no key {name!r}. {near(name, of_encodings)}")
    for row in recipe.published:
        suite = row.get("metric", "features").split(".")[0]
        if suite not in recipe.suites():
            raise ValueError(
                f"A published figure is compared with {row['metric']!r}, but the recipe has no section [{suite}] that measures "
                "it. Add the section, or remove `metric`."
            )


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
    "data": ({"name", "train", "test"}, {"licence", "validation"}),
    "model": ({"class"}, None),
    "optimizer": ({"class"}, None),
    "pretrain": ({"epochs"}, {"optimizer"}),
    **{name: (set(), suite.options) for name, suite in SUITES.items()},
    "k_schedule": ({"start", "epochs"}, set()),
    "penalty_schedule": ({"start", "epochs"}, {"penalty"}),
    "dead_units": (set(), _arguments(DeadUnitMonitor) - {"x"} | {"images"}),
    "early_stopping": ({"patience"}, _arguments(keras.callbacks.EarlyStopping)),
}
