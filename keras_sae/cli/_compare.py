from keras_sae._markdown import table
from keras_sae.cli._package import load_package

SUMMARY = "compare the mechanisms that make a code sparse"
DETAILS = (
    "Trains the same small autoencoder with each mechanism on the sample of Fashion-MNIST that the package ships. Prints, on "
    "test images, the mean squared error, active units, mean rate, dead units and the accuracy of a linear probe; and the time "
    "of a training step, compared with a plain ReLU autoencoder. Takes some minutes."
)
HEADER = ("mechanism", "error (mse)", "active units", "mean rate", "dead units", "probe accuracy", "time of a step")


def add_arguments(parser):
    parser.add_argument("--units", type=int, default=1000, metavar="N", help="code units (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40, metavar="N", help="epochs of training (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=25, metavar="N", help="rounds of timing, or 0 to skip timing (default: %(default)s)"
    )
    parser.add_argument("--markdown", action="store_true", help="print a table in Markdown, as in docs/mechanisms.md")


def run(options):
    load_package()
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
    note = (
        f"{options.units} units, {options.epochs} epochs of {len(train[0]):,} images, batch size 256.\n"
        "l0: active units per image. A unit is active if it is not zero; with sigmoid units, which never are, above 0.1.\n"
        "ratio: time per step, divided by that of the plain autoencoder; median over rounds that measure both in turn."
    )
    if options.markdown:
        print("\n" + "\n".join(table(HEADER, [(row["name"], *_cells(row)) for row in rows])) + f"\n\n{note}")
        return
    width = max(len(row["name"]) for row in rows)
    print(f"\n{'':{width}}  {'mse':>7}  {'l0':>6}  {'rate':>7}  {'dead':>5}  {'probe':>6}  {'ms/step':>7}  {'ratio':>5}")
    for row in rows:
        *figures, ratio = _cells(row)
        cells = [*figures, f"{row['step_ms']:.2f}" if options.rounds else "-", ratio]
        print(
            f"{row['name']:{width}}",
            *(f"{cell:>{size}}" for cell, size in zip(cells, (7, 6, 7, 5, 6, 7, 5), strict=True)),
            sep="  ",
        )
    print(f"\n{note}")


def _cells(row):
    """The figures of a mechanism as texts; the last one is the ratio of the times of a step."""
    return (
        f"{row['reconstruction_error']:.4f}",
        f"{row['l0']:.1f}",
        f"{row['mean_rate']:.4f}",
        str(row["dead_units"]),
        f"{row['probe_accuracy']:.1f} %",
        f"{row['step_ratio']:.2f}" if "step_ratio" in row else "-",
    )
