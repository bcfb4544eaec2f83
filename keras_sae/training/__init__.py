"""From a recipe to a checkpoint and its card."""

from keras_sae.replicas import make_strategy
from keras_sae.training.evaluate_preset import evaluate_preset
from keras_sae.training.interrupts import Stopped
from keras_sae.training.publish import publish, suites_of, update_preset
from keras_sae.training.recipe import Recipe, load_recipe, recipe_names
from keras_sae.training.run import read_run
from keras_sae.training.train import train

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
