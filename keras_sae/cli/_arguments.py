"""Arguments that several commands take."""


def add_preset(parser, **options):
    parser.add_argument(
        "preset", metavar="PRESET", help="a name from `keras-sae list`, a directory, or an https:// or hf:// address", **options
    )


def add_recipe(parser, **options):
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        help="a name from `keras-sae recipes`, or the path of a TOML file, of a folder of images, a table or a series",
        **options,
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a value of the recipe, as in --set epochs=3 or --set optimizer.learning_rate=0.1; repeatable",
    )


def add_data_dir(parser):
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of TensorFlow Datasets (default: the environment variable TFDS_DATA_DIR, or ~/tensorflow_datasets)",
    )
