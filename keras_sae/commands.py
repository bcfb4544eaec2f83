"""What the subcommands of `keras-sae` do: calls of the package, and what they print."""

import json
import os
import shlex
import sys
from pathlib import Path

from keras_sae import presets


def run_quickstart(options):
    from keras_sae.quickstart import quickstart

    quickstart(options.output)


def run_list(options):
    names = presets.names()
    if options.markdown:
        from keras_sae.training._card import table

        print(table([presets.read_metadata(presets.find(name)) for name in names]))
        return
    if not names:
        print("No presets are installed.")
        return
    from keras_sae.training._card import COLUMNS, columns

    rows = [("preset", *COLUMNS)]
    rows += [(name, *columns(presets.read_metadata(presets.find(name), verify=False))) for name in names]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        print(f"{name:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)), sep="  ")
    print(
        "\nTest errors, of logistic regression on frozen codes and on raw pixels, with all labels and with 100; and of the "
        "encoder\nfine-tuned under a classifier. The card of one, with all that was measured: keras-sae info NAME"
    )


def run_info(options):
    directory = presets.find(options.preset)
    metadata = presets.read_metadata(directory)
    card = directory / presets.CARD
    if card.is_file():
        print(card.read_text(encoding="utf-8"))
    else:
        print(f"A {metadata['class_name']} with {metadata['parameters']:,} parameters, without a card.\n")
    print(f"Files: {directory}")


def run_compare(options):
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


def run_recipes(options):
    from keras_sae.training import load_recipe, recipe_names

    if options.recipe is None:
        names = recipe_names()
        width = max(map(len, names))
        for name in names:
            print(f"{name:{width}}  {load_recipe(name).title}")
        print("\nOne of them, checked: keras-sae recipes NAME")
        return
    recipe = load_recipe(options.recipe, options.overrides)
    recipe.check()
    print(json.dumps(recipe.as_data(), indent=2))


def run_arrays(options):
    from keras_sae.datasets import save_arrays

    path = save_arrays(options.name, options.directory, options.data_dir)
    print(f"Wrote {path}, {path.stat().st_size / 1e6:,.1f} MB.")


def run_train(options):
    from keras_sae.distributed import Workers
    from keras_sae.training import Stopped, load_recipe, make_strategy, publish, read_run, train

    recipe = load_recipe(options.recipe, options.overrides)
    if options.steps_per_execution < 1:
        raise ValueError(f"--steps-per-execution counts steps, at least 1. Received: {options.steps_per_execution}.")
    output = Path(options.output or Path("runs") / recipe.name)
    strategy = make_strategy(options.strategy)
    _set_precision(options.precision)
    try:
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
        again = shlex.join([argument for argument in options.arguments if argument != "--resume"])
        print(f"\nStopped, with everything saved. Go on with: keras-sae {again} --resume", flush=True)
        return 128 + stopped.signum
    except ConnectionError as error:
        print(f"keras-sae train: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # what waits for the lost worker inside TensorFlow would keep this process from ending
    workers = Workers.of(strategy)
    if workers and not workers.is_chief:
        return 0
    print(f"Trained for {read_run(output)['seconds']:,.0f} seconds. History: {output / 'history.csv'}", flush=True)
    directory = publish(output, options.data_dir, report=print)
    print((directory / "README.md").read_text(encoding="utf-8"))
    print(f"The preset lies in {directory}. Load it with SparseAutoencoder.from_preset({str(directory)!r}).")
    return 0


def _set_precision(precision):
    import keras

    if precision.startswith("mixed_"):
        keras.config.set_dtype_policy(precision)
    else:
        keras.config.set_floatx(precision)


def run_evaluate(options):
    from keras_sae.training import evaluate_preset, suites_of, update_preset

    if bool(options.preset) == options.all:
        raise ValueError("evaluate takes a PRESET, or --all for every preset that the package ships.")
    suites = None if not options.suite or "all" in options.suite else options.suite
    names = presets.names() if options.all else [options.preset]
    cache, differing = {}, []

    def report(line):
        print(line, flush=True)

    for name in names:
        if options.all:
            report(f"\n{name}")
            known = suites_of(name, as_now=options.update)
            if suites is not None and not set(suites) <= set(known):
                report(f"It has figures of {', '.join(known)} alone.")
                continue
        if options.update:
            directory = update_preset(name, options.data_dir, suites, report=report, cache=cache)
            report(f"Wrote metadata and card anew: {directory}")
            continue
        rows, equal = evaluate_preset(name, options.data_dir, suites, report=report, cache=cache)
        _print_comparison(rows)
        print("\nEvery figure agrees with the card." if equal else "\nFigures differ from the card.", flush=True)
        differing += [] if equal else [name]
    if options.all and not options.update:
        print(f"\nFigures differ from the card of {', '.join(differing)}." if differing else "\nEvery card agrees.")
    return 1 if differing else 0


def _print_comparison(rows):
    def told(value):
        return f"{value:>12.6g}" if isinstance(value, int | float) else f"{'-' if value is None else str(value):>12}"

    width = max(len(row[0]) for row in rows)
    print(f"\n{'':{width}}  {'measured':>12}  {'card':>12}")
    for name, measured, recorded, agrees in rows:
        print(f"{name:{width}}  {told(measured)}  {told(recorded)}{'' if agrees else '   differs'}")


def run_export(options):
    from keras_sae.serving import export, export_encoder, read_description

    if Path(options.directory).suffix in (".onnx", ".tflite", ".xml"):
        if options.model_version is not None or options.top_k or options.image_inputs or options.weights != "float32":
            raise ValueError(
                "--model-version, --top-k, --image-inputs and --weights are about a SavedModel, and "
                f"{options.directory!r} ends as a file of another format. Leave them out, or name a folder."
            )
        difference = export_encoder(options.preset, options.directory)
        print(f"Wrote the encoder to {options.directory}. By its runtime, codes differ by {difference:.1e} at most.")
        return
    path = export(
        options.preset,
        options.directory,
        version=options.model_version,
        top_k=options.top_k,
        image_inputs=options.image_inputs,
        weights=options.weights,
    )
    description = read_description(path)
    print(f"Exported to {path}. Endpoints: {', '.join(description['endpoints'])}.")
    for name, difference in description["difference"].items():
        print(
            f"Against the Keras model, {name} differ by {difference['maximum']:.1e}, {difference['relative']:.1e} of the norm."
        )
    print(f"How to serve it: {path.parent / 'README.md'}\nCheck it: keras-sae verify-export {shlex.quote(options.directory)}")


def run_verify_export(options):
    from keras_sae.serving import verify_export

    try:
        for line in verify_export(options.directory):
            print(line)
    except RuntimeError as wrong:
        print(f"keras-sae verify-export: {wrong}", file=sys.stderr)
        return 1
    return 0


def run_encode(options):
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
