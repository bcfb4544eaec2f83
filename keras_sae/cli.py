"""The command `keras-sae`: its arguments and its help."""

import argparse
import sys

from keras_sae import __version__, commands

SUITES = ("probe", "finetune", "anomaly", "denoise", "features")
PRECISIONS = ("float32", "float64", "mixed_float16", "mixed_bfloat16")


def main(arguments=None):
    """Runs the command line. Returns the exit status: 0, 1 for a check that failed, 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.arguments = list(map(str, sys.argv[1:] if arguments is None else arguments))
    try:
        return options.run(options) or 0
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"keras-sae {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nkeras-sae {options.command}: stopped.", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-sae",
        description="Sparse autoencoders for Keras: pretrained encoders, training, evaluation, export to TF Serving.",
        epilog="Start with `keras-sae quickstart`: it needs no data and takes about a minute. "
        "`keras-sae COMMAND --help` tells more.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=18),
    )
    parser.add_argument("--version", action="version", version=f"keras_sae {__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(name, run, summary, details=""):
        added = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        added.set_defaults(run=run)
        return added

    quickstart = command(
        "quickstart",
        commands.run_quickstart,
        "see the package at work on a small sample of Fashion-MNIST that it ships",
        "Loads a pretrained encoder, compares a classifier on its codes with one on raw pixels, trains a small sparse "
        "autoencoder, exports it, loads the export back, and draws what was learned. Needs no network and no data.",
    )
    quickstart.add_argument(
        "--output",
        default="keras_sae_quickstart",
        metavar="DIR",
        help="where the picture, the model and its export go (default: %(default)s)",
    )

    listing = command("list", commands.run_list, "list the pretrained models")
    listing.add_argument("--markdown", action="store_true", help="as the table of the README")

    info = command("info", commands.run_info, "show the card of a pretrained model")
    _add_preset(info)

    compare = command(
        "compare",
        commands.run_compare,
        "compare the mechanisms that make a code sparse",
        "Trains the same small autoencoder with each of them on the sample of Fashion-MNIST that the package ships, and prints "
        "what became of it on test images: mean squared error, active units, mean rate, dead units, the accuracy of a linear "
        "probe, and the time of a training step against that of a plain ReLU autoencoder. Takes some minutes.",
    )
    compare.add_argument("--units", type=int, default=1000, metavar="N", help="width of the code (default: %(default)s)")
    compare.add_argument("--epochs", type=int, default=40, metavar="N", help="epochs of training (default: %(default)s)")
    compare.add_argument(
        "--rounds", type=int, default=25, metavar="N", help="rounds of timing, 0 for none (default: %(default)s)"
    )

    train = command(
        "train",
        commands.run_train,
        "train a model from a recipe, measure it, and write it as a preset with its card",
        "A recipe is a TOML file; those of the package go by name, see `keras-sae recipes`. The whole state of training is "
        "saved once a minute and when you press Ctrl-C: go on with --resume, and the run ends as it would have ended.",
    )
    _add_recipe(train)
    train.add_argument("--output", metavar="DIR", help="directory of the run (default: runs/RECIPE)")
    train.add_argument("--resume", action="store_true", help="go on with the run in the output directory")
    _add_data_dir(train)
    train.add_argument(
        "--strategy",
        default="default",
        metavar="NAME",
        help="default: one device; mirrored: all GPUs of this machine; multi-worker: the machines that the environment "
        "variable TF_CONFIG lists, the first of which writes the output. The batch size is that of all together",
    )
    train.add_argument(
        "--precision",
        default="float32",
        choices=PRECISIONS,
        help="of weights and arithmetic; mixed_ keeps weights in float32 (default: %(default)s)",
    )
    train.add_argument(
        "--steps-per-execution",
        type=int,
        default=1,
        metavar="N",
        help="steps that run before Python takes over again; schedules move as often (default: %(default)s)",
    )
    train.add_argument("--xla", action="store_true", help="compile a step by XLA")
    train.add_argument("--tensorboard", action="store_true", help="write logs and pictures to DIR/tensorboard")

    recipes = command(
        "recipes",
        commands.run_recipes,
        "list the recipes of the package, or check and show one",
        "With a recipe, it is checked, its model built, and what is to be trained is printed as JSON, changes included.",
    )
    _add_recipe(recipes, nargs="?")

    arrays = command(
        "arrays",
        commands.run_arrays,
        "write a data set as arrays, for machines without TensorFlow",
        "Writes DIR/NAME.npz. On a machine that has Keras on JAX or PyTorch alone, `keras-sae train --data-dir DIR` reads it.",
    )
    arrays.add_argument("name", metavar="NAME", help="a data set of TensorFlow Datasets, such as mnist")
    arrays.add_argument("directory", metavar="DIR", help="where to write it")
    _add_data_dir(arrays)

    evaluate = command(
        "evaluate",
        commands.run_evaluate,
        "measure a pretrained model again and compare with its card",
        "Exits with status 1 where a figure differs from the card's.",
    )
    _add_preset(evaluate, nargs="?")
    evaluate.add_argument("--all", action="store_true", help="every preset that the package ships, one after the other")
    evaluate.add_argument(
        "--suite",
        action="append",
        choices=(*SUITES, "all"),
        help="measure this part of the card alone; may be repeated (default: all that the card has)",
    )
    evaluate.add_argument(
        "--update",
        action="store_true",
        help="write metadata and card anew, weights unchanged, as the recipe of that name now says, instead of comparing",
    )
    _add_data_dir(evaluate)

    export = command(
        "export",
        commands.run_export,
        "export a pretrained model as a SavedModel for TF Serving",
        "Writes DIR/VERSION with the endpoints serving_default (= encode), encode, encode_top_k, decode, reconstruct and "
        "anomaly_score, and beside the versions, once, what serves them. A DIR that ends in .onnx, .tflite or .xml is a file, "
        "to which the encoder is written for ONNX Runtime, LiteRT or OpenVINO.",
    )
    _add_preset(export)
    export.add_argument("directory", metavar="DIR", help="folder of the model, TF Serving's model_base_path")
    export.add_argument("--model-version", type=int, metavar="N", help="version to write (default: the next free one)")
    export.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="entries that encode_top_k gives (default: the active ones of a k-sparse code, or 32)",
    )
    export.add_argument(
        "--image-inputs",
        action="store_true",
        help="endpoints that read uint8 images (encode_images, ...) and PNG or JPEG files (encode_image_bytes, ...) too",
    )
    export.add_argument(
        "--weights",
        default="float32",
        choices=("float32", "bfloat16"),
        help="type that weights are stored in; bfloat16 halves the size (default: %(default)s)",
    )

    verify = command(
        "verify-export",
        commands.run_verify_export,
        "check an export as a server would find it",
        "In a fresh process without keras_sae and without Keras: checksums, every endpoint against its golden answers at batch "
        "sizes 1, 7 and 256, example requests, warm-up records. Exits with status 1 on the first thing that is wrong.",
    )
    verify.add_argument("directory", metavar="DIR", help="folder of a model, or of one of its versions")

    encode = command(
        "encode",
        commands.run_encode,
        "encode images in a .npy file",
        "Images are uint8, or floats in [0, 1]; the codes are float32.",
    )
    _add_preset(encode)
    encode.add_argument("images", metavar="IMAGES.npy", help="array of shape (n, height, width, channels)")
    encode.add_argument("codes", metavar="CODES.npy", help="where to write the codes; an existing file is not overwritten")
    return parser


def _add_preset(parser, **options):
    parser.add_argument("preset", metavar="PRESET", help="a name that `keras-sae list` shows, or a directory", **options)


def _add_recipe(parser, **options):
    parser.add_argument("recipe", metavar="RECIPE", help="the name of a shipped recipe, or the path of a TOML file", **options)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change the recipe, as in --set epochs=3 or --set optimizer.learning_rate=0.1; may be repeated",
    )


def _add_data_dir(parser):
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the TensorFlow Datasets data (default: the environment variable TFDS_DATA_DIR, "
        "then ~/tensorflow_datasets)",
    )


if __name__ == "__main__":
    sys.exit(main())
