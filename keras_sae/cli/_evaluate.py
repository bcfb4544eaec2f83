from keras_sae import presets
from keras_sae.cli._arguments import add_data_dir, add_preset
from keras_sae.cli._package import load_package
from keras_sae.evaluation import SUITES

_LONGEST = 200  # characters of a figure; longer ones, such as the inputs of units, are counted

SUMMARY = "measure a pretrained model again and compare with its card"
DETAILS = "Exits with status 1 if a figure differs from the card, or if `--all` could not measure a preset."


def add_arguments(parser):
    add_preset(parser, nargs="?")
    parser.add_argument("--all", action="store_true", help="evaluate every preset that the package ships")
    parser.add_argument(
        "--suite",
        action="append",
        choices=(*SUITES, "all"),
        help="measure only this part of the card; repeatable (default: every part that the card has)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="do not compare, but write the measured figures to metadata and card, and regenerate the card from the current "
        "recipe; weights do not change",
    )
    parser.add_argument(
        "--render",
        action="store_true",
        help="do not measure, but regenerate the card from the recorded figures and the texts of the current recipe; needs no "
        "data",
    )
    add_data_dir(parser)


def run(options):
    if bool(options.preset) == options.all:
        raise ValueError("Give a PRESET to evaluate, or --all for every preset that the package ships.")
    names = presets.names() if options.all else [options.preset]
    for name in names:
        presets.find(name)  # a wrong name is found before Keras is loaded
    load_package()
    from keras_sae.training import evaluate_preset, suites_of, update_preset

    if options.render:
        if options.suite or options.update:
            raise ValueError("--render measures nothing. Leave out --suite and --update, or leave out --render.")
        for name in names:
            print(f"Rendered {update_preset(name, suites=()) / presets.CARD}")
        return 0
    suites = None if not options.suite or "all" in options.suite else options.suite
    cache, differing, missing = {}, [], []

    def report(line):
        print(line, flush=True)

    for name in names:
        if options.all:
            report(f"\n{name}")
            known = suites_of(name, as_now=options.update)
            if suites is not None and not set(suites) <= set(known):
                report(f"Its card has only {', '.join(known)}.")
                continue
        try:
            if options.update:
                directory = update_preset(name, options.data_dir, suites, report=report, cache=cache)
                report(f"Updated metadata and card in {directory}")
                continue
            rows, equal = evaluate_preset(name, options.data_dir, suites, report=report, cache=cache)
        except (OSError, ValueError) as error:  # such as data that is not here
            if not options.all:
                raise
            report(f"Not measured: {error}")
            missing.append(name)
            continue
        _print_comparison(rows)
        report("\nEvery figure agrees with the card." if equal else "\nFigures differ from the card.")
        differing += [] if equal else [name]
    if missing:
        print(f"\nNot measured: {', '.join(missing)}.")
    if options.all and not options.update and len(missing) < len(names):
        those = "Every card" if not missing else "Every other card"
        print(f"\nFigures differ from the card of {', '.join(differing)}." if differing else f"\n{those} agrees.")
    return 1 if differing or missing else 0


def _print_comparison(rows):
    def text(value):
        if isinstance(value, dict) and len(str(value)) > _LONGEST:
            value = f"{len(value)} entries"
        return f"{value:>12.6g}" if isinstance(value, int | float) else f"{'-' if value is None else str(value):>12}"

    width = max(len(row[0]) for row in rows)
    print(f"\n{'':{width}}  {'measured':>12}  {'card':>12}")
    for name, measured, recorded, agrees in rows:
        print(f"{name:{width}}  {text(measured)}  {text(recorded)}{'' if agrees else '   differs'}")
