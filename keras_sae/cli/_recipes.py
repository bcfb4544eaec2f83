import json

from keras_sae.cli._arguments import add_recipe
from keras_sae.cli._package import load_package

SUMMARY = "list the recipes of the package, or check and show one"
DETAILS = (
    "With a RECIPE, checks it, builds its model, and prints it as JSON, with the changes that --set makes. With --toml, prints "
    "a TOML file to start from: `keras-sae recipes mnist_dense_kl --toml > mine.toml`. Of a folder of images, a table or a "
    "series, shows the recipe that `keras-sae train` would use."
)


def add_arguments(parser):
    add_recipe(parser, nargs="?")
    parser.add_argument("--toml", action="store_true", help="print the RECIPE as a TOML file")


def run(options):
    from keras_sae.training import check_overrides, is_complete, read_recipe, recipe_names, toml

    if options.recipe is None and options.toml:
        raise ValueError("--toml prints one recipe. Give its name.")
    if options.recipe is None:
        names = recipe_names()
        width = max(map(len, names))
        for name in names:
            print(f"{name:{width}}  {read_recipe(name)['title']}")
        print("\n`keras-sae recipes NAME` checks and shows a recipe, and with --toml prints a file to start from.")
        return
    content = read_recipe(options.recipe)  # a wrong name is found before Keras is loaded
    check_overrides(options.overrides)
    if options.toml and not options.overrides and is_complete(content):
        print(toml({key: value for key, value in content.items() if key != "name"}), end="")
        return
    load_package()
    from keras_sae.training import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    recipe.check()
    data = recipe.as_data()
    if options.toml:
        print(toml({key: value for key, value in data.items() if key != "name"}), end="")  # a recipe is named after its file
        return
    print(json.dumps(data, indent=2))
