import os
import shlex
import sys
from pathlib import Path

from keras_sae.cli._arguments import add_data_dir, add_recipe
from keras_sae.cli._package import load_package

SUMMARY = "train a model from a recipe, evaluate it, and save it as a preset with a card"
DETAILS = (
    "A recipe is a TOML file. `keras-sae recipes` lists those that the package ships. The state of training is saved once a "
    "minute and when you press Ctrl-C. An interrupted run continues with --resume and gives the same result."
)


def add_arguments(parser):
    add_recipe(parser)
    parser.add_argument("--output", metavar="DIR", help="directory of the run (default: runs/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="continue the run in the output directory")
    add_data_dir(parser)
    parser.add_argument(
        "--strategy",
        default="default",
        metavar="NAME",
        help="`default`, one device; `mirrored`, all GPUs of this machine; or `multi-worker`, the machines that the "
        "environment variable TF_CONFIG lists, of which the first one writes the output. The batch size of the "
        "recipe is that of all devices together",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "float64", "mixed_float16", "mixed_bfloat16"),
        help="type of weights and arithmetic; the mixed types keep weights in float32 (default: %(default)s)",
    )
    parser.add_argument(
        "--steps-per-execution",
        type=int,
        default=1,
        metavar="N",
        help="training steps per Python call; schedules advance once per call (default: %(default)s)",
    )
    parser.add_argument(
        "--no-evaluate",
        action="store_true",
        help="only train; --resume without this option writes the preset and card later",
    )
    parser.add_argument("--xla", action="store_true", help="compile the training step with XLA")
    parser.add_argument("--tensorboard", action="store_true", help="write logs and pictures to DIR/tensorboard")


def run(options):
    from keras_sae.training import check_overrides, read_recipe

    read_recipe(options.recipe)  # a wrong name is found before Keras is loaded
    check_overrides(options.overrides)
    if options.steps_per_execution < 1:
        raise ValueError(
            f"--steps-per-execution counts training steps and must be at least 1. Received: {options.steps_per_execution}."
        )
    load_package()
    from keras_sae.distributed import Workers
    from keras_sae.training import Stopped, load_recipe, make_strategy, publish, read_run, train

    recipe = load_recipe(options.recipe, options.overrides)
    output = Path(options.output or Path("runs") / recipe.name).expanduser()
    try:
        strategy = make_strategy(options.strategy)
        _set_precision(options.precision)
        train(
            recipe,
            output,
            options.data_dir,
            resume=options.resume,
            verbose=1 if sys.stdout.isatty() else 2,  # a bar for people, lines for files
            strategy=strategy,
            steps_per_execution=options.steps_per_execution,
            jit_compile=True if options.xla else "auto",
            tensorboard=options.tensorboard,
        )
    except Stopped as stopped:
        print(f"\nStopped. Everything is saved. To continue: keras-sae {_resumed(options.arguments)}", flush=True)
        return 128 + stopped.signum
    except ConnectionError as error:
        print(f"keras-sae train: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # threads of TensorFlow that wait for the lost worker would keep this process from ending
    workers = Workers.of(strategy)
    if workers and not workers.is_chief:
        return 0
    print(f"Trained for {read_run(output)['seconds']:,.0f} seconds. History: {output / 'history.csv'}", flush=True)
    if options.no_evaluate:
        print(f"To write the preset and its card: keras-sae {_resumed(options.arguments)}")
        return 0
    directory = publish(output, options.data_dir, report=print)
    print((directory / "README.md").read_text(encoding="utf-8"))
    print(f"The preset is in {directory}. Load it with SparseAutoencoder.from_preset({str(directory)!r}).")
    return 0


def _resumed(arguments):
    """The command that continues this one."""
    return f"{shlex.join([each for each in arguments if each not in ('--resume', '--no-evaluate')])} --resume"


def _set_precision(precision):
    import keras

    if precision.startswith("mixed_"):
        keras.config.set_dtype_policy(precision)
    else:
        keras.config.set_floatx(precision)
