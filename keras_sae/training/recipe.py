import dataclasses
import json
import tomllib
from pathlib import Path

import keras

from keras_sae.callbacks import KSchedule
from keras_sae.training.components import make, near

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a checkpoint is made, as data: a TOML file in `keras_sae/recipes`, or of one's own.

    Attributes:
        name: Stem of the file, `<data set>_<architecture>_<mechanism>`; also the name of the preset.
        title: What it is, in a line.
        source: The publication that it follows.
        data: `name` of the data set, `train` and `test` splits, `licence`.
        model: `class` and arguments of a model of `keras_sae.models`, less `input_shape`, which the data gives.
        optimizer: `class` and arguments of a Keras optimizer.
        loss: Name of a Keras loss.
        epochs, batch_size, seed: Integers. The seed fixes initial weights and order of the data.
        k_schedule: `start` and `epochs`: `k` falls from `start` to the layer's own over that many epochs.
        probe: `validation` (the number of training images that choose C) and `C` (the values tried).
        published: List of published figures to stand beside the measured ones: `what`, `value`, `source`.
        notes: Limits that the card should state.
    """

    name: str
    title: str
    data: dict
    model: dict
    optimizer: dict
    epochs: int
    batch_size: int
    seed: int
    source: str = ""
    loss: str = "mse"
    k_schedule: dict | None = None
    probe: dict = dataclasses.field(default_factory=dict)
    published: list = dataclasses.field(default_factory=list)
    notes: str = ""

    def __post_init__(self):
        for key in ("epochs", "batch_size"):
            if not isinstance(getattr(self, key), int) or getattr(self, key) < 1:
                raise ValueError(f"`{key}` must be an integer of at least 1. Received: {key}={getattr(self, key)!r}.")
        for key, required, optional in (
            ("data", {"name", "train", "test"}, {"licence"}),
            ("probe", set(), {"validation", "C"}),
            ("k_schedule", {"start", "epochs"}, set()),
        ):
            section = getattr(self, key)
            if section is None:
                continue
            if not isinstance(section, dict):
                raise ValueError(f"`{key}` must be a table. Received: {section!r}.")
            for name in section:
                if name not in required | optional:
                    raise ValueError(f"The section `{key}` has no key {name!r}. {near(name, required | optional)}")
            if required - set(section):
                raise ValueError(f"The section `{key}` lacks {', '.join(sorted(required - set(section)))}.")

    def as_data(self):
        """The recipe as a dictionary of plain values, without what was not set."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value not in (None, "", [], {})}

    def build(self, input_shape):
        """The compiled model, its weights and optimizer at their start.

        Args:
            input_shape: Shape of one input.
        """
        keras.utils.set_random_seed(self.seed)
        model = make("model", {**self.model, "input_shape": tuple(input_shape), "name": self.name})
        model.compile(optimizer=make("optimizer", self.optimizer), loss=self.loss)
        return model

    def callbacks(self, steps_per_epoch):
        """The callbacks that are part of the recipe."""
        if not self.k_schedule:
            return []
        return [KSchedule(self.k_schedule["start"], steps=self.k_schedule["epochs"] * steps_per_epoch)]


def recipe_names():
    """Names of the recipes that the package ships, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(recipe, overrides=()):
    """Loads a recipe.

    Args:
        recipe: A name from `recipe_names()`, or the path of a TOML file.
        overrides: Strings `key=value`, such as `"epochs=3"` or `"optimizer.learning_rate=0.1"`. Values are read as TOML,
            or else as text.

    Raises:
        ValueError: The recipe, a key or a class in it is unknown, with names that look alike.
    """
    path = RECIPES / f"{recipe}.toml" if recipe in recipe_names() else Path(recipe)
    if not path.is_file():
        raise ValueError(f"There is no recipe {str(recipe)!r}, and no file of that path. {near(recipe, recipe_names())}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The recipe {str(path)!r} is not valid TOML: {error}.") from error
    content["name"] = path.stem
    for override in overrides:
        _override(content, override)
    return from_data(content)


def from_data(content):
    """Makes a recipe from a dictionary, such as the `recipe` of a preset's metadata."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    for key in content:
        if key not in fields:
            raise ValueError(f"A recipe has no key {key!r}. {near(key, fields)}")
    missing = [name for name, field in fields.items() if _required(field) and name not in content]
    if missing:
        raise ValueError(f"The recipe lacks {', '.join(missing)}.")
    return Recipe(**json.loads(json.dumps(content)))


def _required(field):
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _override(content, override):
    path, equals, text = override.partition("=")
    if not equals:
        raise ValueError(f"An override is written key=value, as in epochs=3. Received: {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, key = path.strip().split(".")
    for section in sections:
        if not isinstance(content.get(section), dict):
            raise ValueError(f"The recipe has no section {section!r} to set {path!r} in. {near(section, content)}")
        content = content[section]
    content[key] = value
