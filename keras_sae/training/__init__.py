"""From a recipe to a checkpoint and its card."""

from keras_sae.distributed import make_strategy
from keras_sae.training._evaluate_preset import evaluate_preset
from keras_sae.training._publish import publish, suites_of, update_preset
from keras_sae.training._recipe import Recipe, load_recipe, recipe_names
from keras_sae.training._run import read_run
from keras_sae.training._signals import Stopped
from keras_sae.training._train import train

__all__ = [
    "Recipe",
    "Stopped",
    "evaluate_preset",
    "load_recipe",
    "make_strategy",
    "publish",
    "read_run",
    "recipe_names",
    "suites_of",
    "train",
    "update_preset",
]
