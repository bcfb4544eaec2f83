"""From a recipe to a checkpoint and its card."""

from keras_sae.training.evaluate_preset import evaluate_preset
from keras_sae.training.publish import publish
from keras_sae.training.recipe import Recipe, load_recipe, recipe_names
from keras_sae.training.train import train

__all__ = ["Recipe", "evaluate_preset", "load_recipe", "publish", "recipe_names", "train"]
