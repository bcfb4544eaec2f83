import json

from keras_sae.cli._arguments import add_recipe
from keras_sae.cli._package import load_package

SUMMARY = "list the recipes of the package, or check and show one"
DETAILS = "With a RECIPE, checks it, builds its model, and prints it as JSON, with the changes that --set makes."


def add_arguments(parser):
    add_recipe(parser, nargs="?")


def run(options):
    from keras_sae.training import read_recipe, recipe_names

    if options.recipe is None:
        names = recipe_names()
        width = max(map(len, names))
        for name in names:
            print(f"{name:{width}}  {read_recipe(name)['title']}")
        print("\n`keras-sae recipes NAME` checks and shows a recipe.")
        return
    read_recipe(options.recipe)  # a wrong name is found before Keras is loaded
    load_package()
    from keras_sae.training import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    recipe.check()
    print(json.dumps(recipe.as_data(), indent=2))
