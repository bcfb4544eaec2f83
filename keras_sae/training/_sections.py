import inspect

import keras

from keras_sae.callbacks import DeadUnitMonitor
from keras_sae.evaluation import SUITES, readout
from keras_sae.training._objects import near


def check_sections(recipe):
    """Checks what a recipe says without making anything of it.

    Raises:
        ValueError: A number is out of range, a key is unknown or lacking, or one section needs another. Where a key is
            unknown, with those that look alike.
    """
    for key, least in (("epochs", 0 if recipe.pretrain else 1), ("batch_size", 1), ("seed", 0)):
        value = getattr(recipe, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"`{key}` must be an integer of at least {least}. Received: {key}={value!r}.")
    if recipe.keep_best not in (None, True, False):
        raise ValueError(f"`keep_best` must be true or false. Received: {recipe.keep_best!r}.")
    if "restore_best_weights" in (recipe.early_stopping or {}):
        raise ValueError(
            "`keep_best = true` keeps the best epoch, also of a run that is resumed: leave `restore_best_weights` out."
        )
    for key, (required, optional) in SECTIONS.items():
        section = recipe.suite_options.get(key) if key in SUITES else getattr(recipe, key)
        if section is None:
            continue
        if not isinstance(section, dict):
            raise ValueError(f"`{key}` must be a table. Received: {section!r}.")
        for name in section:
            if optional is not None and name not in required | optional:
                raise ValueError(f"The section `{key}` has no key {name!r}. {near(name, required | optional)}")
        if required - set(section):
            raise ValueError(f"The section `{key}` lacks {', '.join(sorted(required - set(section)))}.")
    if recipe.keep_best and "validation" not in recipe.data:
        raise ValueError(
            "`keep_best` chooses an epoch by images that are not trained on: give `data` a `validation` split, such as "
            "train = 'train[:50000]' and validation = 'train[50000:]'."
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
                f"A published figure stands beside {row['metric']!r}, and the recipe has no section [{suite}] to measure it by."
            )


def _arguments(function):
    return set(inspect.signature(function).parameters)


# The keys that each section must have, and those that it may have; None where the class in it decides.
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
