from ._card import COLUMNS, columns, is_browsable, table
from ._evaluate_preset import evaluate_preset
from ._publish import publish, publish_model, suites_of, update_preset
from ._recipe import Recipe, load_recipe
from ._recipe_file import check_overrides, is_complete, read_recipe, recipe_names
from ._run import read_run
from ._signals import Stopped
from ._toml import toml
from ._train import make_strategy, train

__all__ = [
    "Recipe",
    "Stopped",
    "evaluate_preset",
    "load_recipe",
    "make_strategy",
    "publish",
    "publish_model",
    "read_run",
    "recipe_names",
    "suites_of",
    "train",
    "update_preset",
]
