import dataclasses
import json
import tomllib
import warnings

import keras
import numpy as np

from keras_sae._checks import check_integer
from keras_sae.callbacks import DeadUnitMonitor, KSchedule, PenaltySchedule
from keras_sae.datasets import OPTIONS
from keras_sae.evaluation import ACTIVE_ABOVE, SUITES, as_input
from keras_sae.metrics import L0, DeadUnits
from keras_sae.models import StackedAutoencoder
from keras_sae.training._default_recipe import default_recipe
from keras_sae.training._objects import centers_by_default, make, near
from keras_sae.training._recipe_file import is_complete, read_recipe, without_encodings
from keras_sae.training._refit import DECODER, check_refit
from keras_sae.training._sections import SECTIONS, check_sections

# Keys that may change after training: only the card and the evaluation read them.
OF_THE_CARD = {"title", "mechanism", "use", "notes", "caption", "published", "source", *SUITES}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a checkpoint is made, as data: a TOML file in `keras_sae/recipes`, or your own.

    Attributes:
        name: Stem of the file, `<data set>_<architecture>_<mechanism>`. It is also the name of the preset.
        title: One line that describes the model.
        mechanism: The word for what makes the code sparse, such as "ksparse". `keras_sae.presets.names` finds presets by it.
        source: The publication that the recipe follows.
        data: `name` of the data set, `train` and `test` splits, `licence`, and optionally a `validation` split to choose an
            epoch by; `patches = { size = 6, count = 400000 }` to train on random patches; `shown`, the data set whose images
            the preset ships where this licence forbids it. `name` may be the path of a folder of images, a table or a series;
            then `data` may have the arguments of `keras_sae.datasets.load_folder`, `load_table` and `load_series`.
        start: `"samples"` to start from `keras_sae.models.start_from_samples`, `"scaled_samples"` from the same with `scaled`.
        model: `class` and arguments of a model of `keras_sae.models`, without `input_shape`, which the data gives. A file that
            does not set `center` gets the default of the models, and the record says which it was: on where a selection
            makes the code. Data without `center`, from before the argument, means false.
        optimizer: `class` and arguments of a Keras optimizer, including gradient clipping and learning-rate schedules; and
            `exclude_from_weight_decay`, a list of names such as "bias".
        loss: Name of a Keras loss.
        epochs, batch_size, seed: Integers. The batch size is global. The seed fixes initial weights and the order of the data.
        pretrain: Layer-wise training of a StackedAutoencoder before the whole model: `epochs` (an integer, or a list with one
            for each level), and an `optimizer` if it differs. `epochs` of the recipe may then be 0.
        refit_decoder: A last phase that trains the decoder alone on the codes that it reads at inference: `epochs`, and an
            `optimizer` if it differs. Where a selection acts in training only, as the lifetime competition of
            `WinnerTakeAll`, the decoder has learned from other codes and may reconstruct badly. A finished run takes it by
            `--resume`.
        k_schedule: `start` and `epochs`: `k` falls from `start` to the `k` of the layer over that many epochs.
        penalty_schedule: `start`, `epochs` and optionally `penalty`, as in `keras_sae.callbacks.PenaltySchedule`.
        dead_units: Arguments of `keras_sae.callbacks.DeadUnitMonitor`, and how many training `images` it encodes (2000).
        early_stopping: Arguments of `keras.callbacks.EarlyStopping`. It monitors the reconstruction loss by default, of
            `data.validation` if there is one. To restore the best weights, use `keep_best`.
        keep_best: Whether the preset comes from the epoch with the lowest reconstruction loss on `data.validation`.
        suite_options: Dictionary from suites of `keras_sae.evaluation.SUITES` to their options. In TOML, each suite has its own
            section, such as `[probe]`. Only suites with a section are measured, and `features`, which is on every card.
        published: List of published figures to compare with: `what`, `value`, `source`, and optionally `metric`, the path of
            the measured figure, such as "probe.error" or "probe.raw_pixels.error".
        use: What the model is good for, for the card.
        notes: Limits that the card should state.
        caption: What to know about the picture on the card, where it does not explain itself.
    """

    name: str
    title: str
    data: dict
    model: dict
    optimizer: dict
    epochs: int
    batch_size: int
    seed: int
    mechanism: str = ""
    source: str = ""
    loss: str = "mse"
    start: str | None = None
    pretrain: dict | None = None
    refit_decoder: dict | None = None
    k_schedule: dict | None = None
    penalty_schedule: dict | None = None
    dead_units: dict | None = None
    early_stopping: dict | None = None
    keep_best: bool | None = None
    suite_options: dict = dataclasses.field(default_factory=dict)
    published: list = dataclasses.field(default_factory=list)
    use: str = ""
    notes: str = ""
    caption: str = ""

    def __post_init__(self):
        passes, samples = "is the number of passes over the training data", "is the number of samples of a global batch"
        start = "fixes the initial weights and the order of the data"
        for key, meaning, at_least in (
            ("epochs", passes, 0 if self.pretrain else 1),
            ("batch_size", samples, 1),
            ("seed", start, 0),
        ):
            object.__setattr__(self, key, check_integer(key, getattr(self, key), meaning, at_least))
        check_sections(self)

    @property
    def reading(self):
        """How to read the data: the keys of `data` that `keras_sae.datasets.load` takes as options."""
        return {key: value for key, value in self.data.items() if key in OPTIONS}

    def suites(self):
        """The suites of the card: a dictionary from their names to their options."""
        options = self.suite_options
        return {name: dict(options.get(name, {})) for name, suite in SUITES.items() if name in options or suite.on_every_card}

    def as_data(self):
        """The recipe as a dictionary of plain values, without keys that are not set."""
        fields = dataclasses.asdict(self)
        sections = fields.pop("suite_options")
        return {key: value for key, value in {**fields, **sections}.items() if value not in (None, "", [])}

    def build(self, input_shape):
        """Builds the model with its initial weights and compiles it for training.

        Args:
            input_shape: Shape of one input.
        """
        keras.utils.set_random_seed(self.seed)
        shape = tuple(None if "patches" in self.data else size for size in input_shape[:-1]) + tuple(input_shape[-1:])
        model = make("model", {**self.model, "input_shape": shape, "name": self.name})
        if self.pretrain and not isinstance(model, StackedAutoencoder):
            raise ValueError(f"`pretrain` trains the levels of a StackedAutoencoder. Received: a {type(model).__name__}.")
        if self.refit_decoder:
            check_refit(model)
        model.compile(**self.compile_arguments(model))
        return model

    def compile_arguments(self, model, level=None):
        """The arguments of `compile` in a phase of training, see `phases`: optimizer, loss, and metrics of the code."""
        section = self.refit_decoder if level == DECODER else self.pretrain if level else {}
        description = dict(section.get("optimizer") or self.optimizer)
        excluded = description.pop("exclude_from_weight_decay", [])
        optimizer = make("optimizer", description)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=list(excluded))
        if level == DECODER:
            return {"optimizer": optimizer, "loss": self.loss}
        threshold = 0.0 if model.has_exact_zeros else ACTIVE_ABOVE
        metrics = [L0(threshold)]
        if not self.dead_units:
            metrics.append(DeadUnits(threshold=threshold))
        return {"optimizer": optimizer, "loss": self.loss, "metrics": metrics}

    def check(self):
        """Builds the model and the callbacks for images of a made-up size. Raises ValueError if that fails."""
        images = np.zeros((self.batch_size, 32, 32, 1), "uint8")
        model = self.build(images.shape[1:])
        for level, _ in self.phases(model):
            self.compile_arguments(model, level)
            self.callbacks(images, 1, level)

    def phases(self, model):
        """The phases of training: pairs of a name (of a level, None for the whole model, `DECODER`) and a number of epochs."""
        phases = []
        if self.pretrain:
            levels = model.levels
            epochs = self.pretrain["epochs"]
            epochs = epochs if isinstance(epochs, list) else [epochs] * len(levels)
            if len(epochs) != len(levels):
                raise ValueError(
                    f"`pretrain.epochs` is one number, or a list with one for each of {len(levels)} levels. Received: {epochs}."
                )
            phases = list(zip(levels, epochs, strict=True))
        whole = [(None, self.epochs)] if self.epochs else []
        last = [(DECODER, self.refit_decoder["epochs"])] if self.refit_decoder else []
        return [*phases, *whole, *last]

    def warn_of_schedules(self, model):
        """Warns of schedules that are longer than the training, so that the model ends before their last value."""
        for level, epochs in self.phases(model):
            if level == DECODER:
                continue
            for name, schedule, what in (
                ("k_schedule", self.k_schedule, "k"),
                ("penalty_schedule", self.penalty_schedule, "weight"),
            ):
                if schedule and epochs < schedule["epochs"]:
                    of_level = f" of {level}" if level else ""
                    warnings.warn(
                        f"The {name} of the recipe takes {schedule['epochs']} epochs, but training{of_level} takes {epochs}, "
                        f"so it ends before the {what} has its last value. Shorten it too: {name}.epochs={max(1, epochs)}.",
                        stacklevel=3,
                    )

    def best(self, level):
        """Name of the logged value whose best epoch is kept, or None."""
        return "val_reconstruction_loss" if self.keep_best and level is None else None

    def callbacks(self, images, steps_per_epoch, level=None):
        """Creates the callbacks of the recipe.

        Args:
            images: The training images as stored.
            steps_per_epoch: Integer.
            level: The name of the phase of training, see `phases`.
        """
        made = []
        if level == DECODER:
            return made
        if self.k_schedule:
            made.append(KSchedule(self.k_schedule["start"], steps=self.k_schedule["epochs"] * steps_per_epoch))
        if self.penalty_schedule:
            penalty, start = self.penalty_schedule.get("penalty"), self.penalty_schedule["start"]
            made.append(PenaltySchedule(start, steps=self.penalty_schedule["epochs"] * steps_per_epoch, penalty=penalty))
        if level is not None:
            return made
        if self.dead_units:
            arguments = dict(self.dead_units)
            made.append(DeadUnitMonitor(as_input(images[: arguments.pop("images", 2000)]), **arguments))
        if self.early_stopping:
            watched = "val_reconstruction_loss" if "validation" in self.data else "reconstruction_loss"
            made.append(keras.callbacks.EarlyStopping(**{"monitor": watched, "mode": "min", **self.early_stopping}))
        return made


def load_recipe(recipe, overrides=()):
    """Loads a recipe.

    Args:
        recipe: A name from `recipe_names()`, or the path of a TOML file. Or the path of a folder of images, a table or a
            series: then a recipe is made that suits it.
        overrides: Strings `key=value`, such as `"epochs=3"` or `"optimizer.learning_rate=0.1"`. A value that is not TOML is
            read as text. A missing section is added.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: The recipe or a key in it is unknown, or a value is out of range. The message suggests similar names.
    """
    content = read_recipe(recipe)
    if not is_complete(content):
        for override in (each for each in overrides if each.strip().startswith("data.")):
            _override(content, override)
        content = default_recipe(content)
    for override in overrides:
        _override(content, override)
    if isinstance(content.get("model"), dict):
        content["model"].setdefault("center", centers_by_default(content["model"]))
    return from_data(content)


def from_data(content):
    """Creates a recipe from a dictionary, such as `recipe` in the metadata of a preset."""
    fields = {field.name: field for field in dataclasses.fields(Recipe) if field.name != "suite_options"}
    for key in content:
        if key not in fields and key not in SUITES:
            raise ValueError(f"A recipe has no key {key!r}. {near(key, [*fields, *SUITES])}")
    missing = [name for name, field in fields.items() if _required(field) and name not in content]
    if missing:
        raise ValueError(f"The recipe needs {', '.join(missing)}.")
    content = without_encodings(_plain(content))
    if isinstance(content["model"], dict):
        content["model"].setdefault("center", False)
    sections = {name: content.pop(name, None) for name in SUITES}
    return Recipe(**content, suite_options={name: each for name, each in sections.items() if each is not None})


def _plain(content):
    """A copy of plain values, as a preset's metadata stores them."""
    try:
        return json.loads(json.dumps(content))
    except TypeError as error:
        raise ValueError(f"A recipe has texts, numbers, true, false, lists and tables, no dates. {error}.") from error
    except RecursionError:
        raise ValueError("The recipe is nested too deeply to be read. Check its brackets.") from None


def _required(field):
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _override(content, override):
    path, equals, text = override.partition("=")
    if not equals:
        raise ValueError(f"Write an override as key=value, such as epochs=3. Received: {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = {"True": True, "False": False}.get(text.strip(), text)
    *sections, key = path.strip().split(".")
    if sections and sections[0] in SECTIONS:
        content.setdefault(sections[0], {})
    for section in sections:
        if not isinstance(content.get(section), dict):
            known = [name for name in {*content, *SECTIONS} if name in SECTIONS or isinstance(content[name], dict)]
            raise ValueError(f"The recipe has no section {section!r} to set {path!r} in. {near(section, known)}")
        content = content[section]
    content[key] = value
