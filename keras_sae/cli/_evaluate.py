import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

from keras_sae import presets
from keras_sae.cli._arguments import add_data_dir, add_preset
from keras_sae.cli._package import load_package
from keras_sae.evaluation import SUITES

_LONGEST = 200  # characters of a figure; longer ones, such as the inputs of units, are counted
_KEPT = {}  # in a process of --jobs: data, and figures of the data alone, for the next preset

SUMMARY = "measure a pretrained model again and compare with its card"
DETAILS = "Exits with status 1 if a figure differs from the card, or if `--all` could not measure a preset."


def add_arguments(parser):
    add_preset(parser, nargs="?")
    parser.add_argument("--all", action="store_true", help="evaluate every preset that the package ships")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="with --all, how many presets to evaluate at a time, in processes of up to 10 GB of memory (default: %(default)s)",
    )
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
    if options.jobs < 1:
        raise ValueError(f"--jobs counts processes, so it is at least 1. Received: {options.jobs}")
    names = presets.names() if options.all else [options.preset]
    places = {name: presets.find(name) for name in names}  # a wrong name is found before Keras is loaded
    load_package()
    from keras_sae.training import update_preset

    if options.render:
        if options.suite or options.update:
            raise ValueError("--render measures nothing. Leave out --suite and --update, or leave out --render.")
        for name in names:
            print(f"Rendered {update_preset(name, suites=()) / presets.CARD}")
        return 0
    if options.all and options.jobs > 1:
        outcomes = _evaluate_in_processes(places, options)
    else:
        cache = {}
        outcomes = {name: _evaluate(name, name, options, _print, cache) for name in names}
    missing = [name for name in names if outcomes[name] == "missing"]
    differing = [name for name in names if outcomes[name] == "differs"]
    if missing:
        print(f"\nNot measured: {', '.join(missing)}.")
    if options.all and not options.update and len(missing) < len(names):
        those = "Every card" if not missing else "Every other card"
        print(f"\nFigures differ from the card of {', '.join(differing)}." if differing else f"\n{those} agrees.")
    return 1 if differing or missing else 0


def _print(line):
    print(line, flush=True)


def _evaluate_in_processes(places, options):
    """The outcome of each preset, by name. What each prints appears when it and those before it are done."""
    from keras_sae.training import suites_of

    for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):  # otherwise each process has a thread for every core
        os.environ.setdefault(threads, str(max(1, (os.cpu_count() or 1) // options.jobs)))
    outcomes = {}
    # Those that train networks take longest. They come first, so that no process ends long after the others.
    order = sorted(places, key=lambda name: "finetune" not in suites_of(places[name]))
    executor = ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        done = executor.map(_evaluate_quietly, order, [places[name] for name in order], [options] * len(order))
        for name, (outcome, text) in zip(order, done, strict=True):
            _print(text)
            outcomes[name] = outcome
    finally:
        executor.shutdown(cancel_futures=True)
    return outcomes


def _end_with_parent():
    """Ends this process when its parent was killed, which would otherwise leave it to measure for an hour."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _evaluate_quietly(name, place, options):
    """What `_evaluate` returns, and the lines that it reports."""
    load_package()
    lines = []
    return _evaluate(name, place, options, lines.append, _KEPT), "\n".join(lines)


def _evaluate(name, place, options, report, cache):
    """Measures the preset at `place` and reports it. Returns "agrees", "differs", "missing" if it could not, or None."""
    from keras_sae.training import evaluate_preset, suites_of, update_preset

    suites = None if not options.suite or "all" in options.suite else options.suite
    if options.all:
        report(f"\n{name}")
        known = suites_of(place, as_now=options.update)
        if suites is not None and not set(suites) <= set(known):
            report(f"Its card has only {', '.join(known)}.")
            return None
    try:
        if options.update:
            directory = update_preset(place, options.data_dir, suites, report=report, cache=cache)
            report(f"Updated metadata and card in {directory}")
            return None
        rows, equal = evaluate_preset(place, options.data_dir, suites, report=report, cache=cache)
    except (OSError, ValueError) as error:  # such as data that is not here
        if not options.all:
            raise
        report(f"Not measured: {error}")
        return "missing"
    report(_comparison(rows))
    report("\nEvery figure agrees with the card." if equal else "\nFigures differ from the card.")
    return "agrees" if equal else "differs"


def _comparison(rows):
    def text(value):
        if isinstance(value, dict) and len(str(value)) > _LONGEST:
            value = f"{len(value)} entries"
        return f"{value:>12.6g}" if isinstance(value, int | float) else f"{'-' if value is None else str(value):>12}"

    width = max(len(row[0]) for row in rows)
    lines = [f"\n{'':{width}}  {'measured':>12}  {'card':>12}"]
    for name, measured, recorded, agrees in rows:
        lines.append(f"{name:{width}}  {text(measured)}  {text(recorded)}{'' if agrees else '   differs'}")
    return "\n".join(lines)
