"""Recipes as files: their names and their content. Loads no Keras, so that `keras-sae recipes` answers at once."""

import re
import tomllib
import warnings
from pathlib import Path

from keras_sae._checks import nearest
from keras_sae._data_files import is_data
from keras_sae.evaluation import SUITES

# The fields of a `Recipe`, without the sections of suites.
KEYS = (
    *("name", "title", "data", "model", "optimizer", "epochs", "batch_size", "seed", "mechanism", "source", "loss", "pretrain"),
    *(
        "start",
        "refit_decoder",
        "k_schedule",
        "penalty_schedule",
        "dead_units",
        "early_stopping",
        "keep_best",
        "published",
        "use",
        "notes",
        "caption",
    ),
)
_DIRECTORY = Path(__file__).resolve().parent.parent / "recipes"


def recipe_names():
    """Names of the recipes that the package ships, sorted."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.toml"))


def read_recipe(recipe):
    """The content of a recipe, a dictionary, with its name. Nothing in it is checked.

    Of a folder of images, a table or a series, it has the section `data` alone. `load_recipe` adds the rest.

    Args:
        recipe: A name from `recipe_names()`, or the path of a TOML file or of data.

    Raises:
        ValueError: There is no such recipe, or it is not valid TOML.
    """
    names = recipe_names()
    path = _DIRECTORY / f"{recipe}.toml" if recipe in names else Path(recipe).expanduser()
    if recipe not in names and is_data(path):
        if not path.exists():
            raise ValueError(f"There is no file {str(recipe)!r} to train on.")
        return {"data": {"name": str(path.resolve())}, "name": name_of(path)}  # it is read again from other directories
    if not path.is_file():
        raise ValueError(
            f"There is no recipe named {str(recipe)!r} and no file or folder at that path. {nearest(path.stem, names)}"
            f"The recipes are: {', '.join(names)}."
        )
    try:
        return {**tomllib.loads(path.read_text(encoding="utf-8")), "name": path.stem}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The recipe {str(path)!r} is not valid TOML: {error}.") from error
    except RecursionError:
        raise ValueError(f"The recipe {str(path)!r} is nested too deeply to be read. Check its brackets.") from None


def is_complete(content):
    """Whether the content of a recipe says how to train, and not only on what."""
    return set(content) != {"data", "name"}


def name_of(path):
    """The name of the recipe of data without one. It names the run, its preset and its model."""
    return re.sub(r"\W+", "_", Path(path).expanduser().resolve().stem, flags=re.ASCII).strip("_").lower() or "data"


def check_overrides(overrides):
    """Checks the form of `key=value` overrides, and that a recipe has their keys or sections. The values are not checked.

    Raises:
        ValueError: An override has another form, or sets what no recipe has.
    """
    known = [*KEYS, *SUITES]
    for override in overrides:
        path, equals, _ = override.partition("=")
        if not equals:
            raise ValueError(f"Write an override as key=value, such as epochs=3. Received: {override!r}.")
        key = path.strip().split(".")[0]
        if key not in known:
            raise ValueError(f"A recipe has no key {key!r}. {nearest(key, known)}It has {', '.join(sorted(known))}.")


def without_encodings(content):
    """A recipe without the keys by which suites read something else than `features` in earlier versions."""
    for suite, key in (("probe", "encodings"), ("finetune", "encoding")):
        if isinstance(content.get(suite), dict) and key in content[suite]:
            warnings.warn(
                f"`{suite}.{key}` of the recipe {content.get('name')!r} is ignored: classifiers read `features` of the model, "
                "and nothing else. Set `features` in the section `model`.",
                stacklevel=3,
            )
            del content[suite][key]
    return content
