"""The command `keras-sae`: each subcommand is a call of the package."""

import argparse
import sys
from pathlib import Path

from keras_sae import __version__, presets


def main(arguments=None):
    """Runs the command line. Returns the exit status: 0, 1 for a check that failed, 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(arguments)
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
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(name, run, summary, details=""):
        added = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        added.set_defaults(run=run)
        return added

    quickstart = command(
        "quickstart",
        _quickstart,
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

    listing = command("list", _list, "list the pretrained models")
    listing.add_argument("--markdown", action="store_true", help="as the table of the README")

    info = command("info", _info, "show the card of a pretrained model")
    _add_preset(info)

    compare = command(
        "compare",
        _compare,
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
        _train,
        "train a model from a recipe, measure it, and write it as a preset with its card",
        "A recipe is a TOML file; those of the package go by name. The state of training is saved after every epoch: "
        "stop with Ctrl-C, go on with --resume.",
    )
    train.add_argument("recipe", metavar="RECIPE", help="the name of a shipped recipe, or the path of a TOML file")
    train.add_argument("--output", metavar="DIR", help="directory of the run (default: runs/RECIPE)")
    train.add_argument("--resume", action="store_true", help="go on with the run in the output directory")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change the recipe, as in --set epochs=3 or --set optimizer.learning_rate=0.1; may be repeated",
    )
    _add_data_dir(train)

    evaluate = command(
        "evaluate",
        _evaluate,
        "measure a pretrained model again and compare with its card",
        "Exits with status 1 where a figure differs from the card's.",
    )
    _add_preset(evaluate)
    _add_data_dir(evaluate)

    export = command(
        "export",
        _export,
        "export a pretrained model as a SavedModel for TF Serving",
        "Writes DIR/VERSION with the endpoints serving_default (= encode), encode, decode and reconstruct.",
    )
    _add_preset(export)
    export.add_argument("directory", metavar="DIR", help="folder of the model, TF Serving's model_base_path")
    export.add_argument("--model-version", type=int, default=1, metavar="N", help="version to write (default: %(default)s)")

    encode = command(
        "encode",
        _encode,
        "encode images in a .npy file",
        "Images are uint8, or floats in [0, 1]; the codes are float32.",
    )
    _add_preset(encode)
    encode.add_argument("images", metavar="IMAGES.npy", help="array of shape (n, height, width, channels)")
    encode.add_argument("codes", metavar="CODES.npy", help="where to write the codes; an existing file is not overwritten")
    return parser


def _add_preset(parser):
    parser.add_argument("preset", metavar="PRESET", help="a name that `keras-sae list` shows, or a directory")


def _add_data_dir(parser):
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the TensorFlow Datasets data (default: the environment variable TFDS_DATA_DIR, "
        "then ~/tensorflow_datasets)",
    )


def _quickstart(options):
    from keras_sae.quickstart import quickstart

    quickstart(options.output)


def _list(options):
    names = presets.names()
    if options.markdown:
        from keras_sae.training.card import table

        print(table([presets.read_metadata(presets.find(name)) for name in names]))
        return
    if not names:
        print("No presets are installed.")
        return
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {presets.read_metadata(presets.find(name), verify=False).get('title', '')}")
    print("\nThe card of one: keras-sae info NAME")


def _info(options):
    directory = presets.find(options.preset)
    metadata = presets.read_metadata(directory)
    card = directory / presets.CARD
    if card.is_file():
        print(card.read_text(encoding="utf-8"))
    else:
        print(f"A {metadata['class_name']} with {metadata['parameters']:,} parameters, without a card.\n")
    print(f"Files: {directory}")


def _compare(options):
    from keras_sae.datasets import SAMPLE, load_arrays
    from keras_sae.evaluation import compare

    train, test = load_arrays(SAMPLE, "train"), load_arrays(SAMPLE, "test")
    rows = compare(
        train,
        test,
        units=options.units,
        epochs=options.epochs,
        rounds=options.rounds,
        report=lambda line: print(line, flush=True),
    )
    width = max(len(row["name"]) for row in rows)
    print(f"\n{'':{width}}  {'mse':>7}  {'l0':>6}  {'rate':>7}  {'dead':>5}  {'probe':>6}  {'ms/step':>7}  {'ratio':>5}")
    for row in rows:
        figures = f"{row['reconstruction_error']:7.4f}  {row['l0']:6.1f}  {row['mean_rate']:7.4f}  {row['dead_units']:5d}"
        timing = f"{row['step_ms']:7.2f}  {row['step_ratio']:5.2f}" if options.rounds else f"{'-':>7}  {'-':>5}"
        print(f"{row['name']:{width}}  {figures}  {row['probe_accuracy']:4.1f} %  {timing}")
    print(
        f"\n{options.units} units, {options.epochs} epochs of {len(train[0]):,} images, batches of 256.\n"
        "Active is what is not zero, or above 0.1 where nothing is exactly zero, as with sigmoid units.\n"
        "Ratio: of a step to the plain one, the median over rounds, each time beside a plain step."
    )


def _train(options):
    from keras_sae.training import load_recipe, publish, train

    recipe = load_recipe(options.recipe, options.overrides)
    output = Path(options.output or Path("runs") / recipe.name)
    try:
        train(recipe, output, options.data_dir, resume=options.resume)
    except KeyboardInterrupt:
        again = " ".join(f"--set {override}" for override in options.overrides)
        print(f"\nStopped. Go on with: keras-sae train {options.recipe} {again} --output {output} --resume".replace("  ", " "))
        return 130
    directory = publish(output, options.data_dir, report=print)
    print((directory / "README.md").read_text(encoding="utf-8"))
    print(f"The preset lies in {directory}. Load it with SparseAutoencoder.from_preset({str(directory)!r}).")
    return 0


def _evaluate(options):
    from keras_sae.training import evaluate_preset

    rows, equal = evaluate_preset(options.preset, options.data_dir, report=print)
    width = max(len(row[0]) for row in rows)
    print(f"\n{'':{width}}  {'measured':>12}  {'card':>12}")
    for name, measured, recorded, agrees in rows:
        print(f"{name:{width}}  {measured:>12.6g}  {recorded:>12.6g}{'' if agrees else '   differs'}")
    print("\nEvery figure agrees with the card." if equal else "\nFigures differ from the card.")
    return 0 if equal else 1


def _export(options):
    from keras_sae.serving import export

    path = export(options.preset, options.directory, version=options.model_version)
    print(f"Exported to {path}. Endpoints: serving_default (= encode), encode, decode, reconstruct.")


def _encode(options):
    import numpy as np

    from keras_sae.evaluation import encode
    from keras_sae.models import SparseAutoencoder

    target = Path(options.codes)
    if target.exists():
        raise FileExistsError(f"{str(target)!r} exists and is not overwritten.")
    images = np.load(options.images, allow_pickle=False)
    model = SparseAutoencoder.from_preset(options.preset)
    expected = model.input_shape[1:]
    if images.shape[1:] != expected or len(images) == 0:
        raise ValueError(
            f"{options.preset!r} encodes images of shape (n, {', '.join(map(str, expected))}), n at least 1. "
            f"Received: an array of shape {images.shape} in {options.images!r}."
        )
    codes = encode(model, images)
    with target.open("xb") as file:
        np.save(file, codes)
    print(f"Wrote {codes.shape[0]:,} codes of {codes.shape[1:]} units to {target}.")


if __name__ == "__main__":
    sys.exit(main())
