import csv
from pathlib import Path

import keras
import numpy as np

from keras_sae.regularizers import ActivityKL
from keras_sae.visualization._figure import COLOURS, new_figure, plain


def plot_penalties(penalties=None, low=-1.0, high=1.0, figure=None):
    """Draws penalties of one activation, and their derivatives: what it costs, and how hard it is pulled.

    L1 pulls a small activation towards zero as hard as a large one, so it ends there; the pull of L2 fades with it. A KL
    divergence pulls a rate towards its target from both sides, without bound at 0 and 1.

    Args:
        penalties: Dictionary from titles to penalties (any `keras.Regularizer`). By default `ActivityKL` at the targets 0.2
            and 0.05, L1 and L2.
        low, high: Floats, the range of activations. A penalty is drawn where it is defined: the KL divergence in (0, 1).
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure: penalties on the left, derivatives on the right.
    """
    if penalties is None:
        penalties = {
            **{f"KL, target {target}": ActivityKL(target) for target in (0.2, 0.05)},
            "L1": keras.regularizers.L1(1.0),
            "L2": keras.regularizers.L2(1.0),
        }
    activations = np.linspace(low, high, 160)  # an even number, so that 0 is not one of them
    figure = figure or new_figure(8, 3)
    left, right = figure.subplots(1, 2)
    largest = 0.1
    for (title, penalty), colour in zip(penalties.items(), COLOURS * len(penalties), strict=False):
        costs = np.array([float(penalty(np.full((1, 1), each, "float32"))) for each in activations])
        largest = max(largest, np.nanmax(costs))
        left.plot(activations, costs, color=colour, label=title)
        right.plot(activations, np.gradient(costs, activations), color=colour)
    plain(left, "Penalty", xlabel="activation or rate", ylim=(-0.05, min(2, 1.1 * largest)))
    plain(right, "Derivative", xlabel="activation or rate", ylim=(-3, 3))
    for axis in (left, right):
        axis.locator_params(nbins=5)
    right.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    left.legend(fontsize=8, frameon=False)
    return figure


def plot_history(history, figure=None):
    """Draws what `fit` logged, each figure over the epochs, for training and validation data.

    Args:
        history: What `fit` returned, a dictionary from names to lists of numbers, or the path of the `history.csv` of a run.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure, with axes for each name.
    """
    logs = _logs(history)
    names = [name for name in logs if not name.startswith("val_")]
    if not names:
        raise ValueError("`history` has no logs of training: call `fit` first, for at least one epoch.")
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = figure or new_figure(2.7 * across, 2.1 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        for key, style, colour in ((name, "-", COLOURS[0]), (f"val_{name}", "--", COLOURS[6])):
            if key in logs:
                values = np.asarray(logs[key], float)
                marker = "." if len(values) < 2 else None
                axis.plot(np.arange(1, len(values) + 1), values, style, color=colour, marker=marker, label=key)
        plain(axis, name, xlabel="epoch")
        if f"val_{name}" in logs:
            axis.legend(["training", "validation"], fontsize=7, frameon=False)
    return figure


def _logs(history):
    if isinstance(history, str | Path):
        with Path(history).expanduser().open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in (rows[0] if rows else ()) if name != "epoch"]
        return {name: [float(row[name] or "nan") for row in rows] for name in names}
    return dict(getattr(history, "history", history))


def plot_tradeoff(rows, figure=None):
    """Draws reconstruction against sparsity, a point for each mechanism.

    Args:
        rows: List of dictionaries with `name`, `l0`, `units` and `reconstruction_error`, as `keras_sae.evaluation.compare`
            returns them.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure. Lower and further left is better: a close reconstruction from few active units.
    """
    if not rows:
        raise ValueError("`rows` are the results of mechanisms, at least one. Received: none.")
    figure = figure or new_figure(6, 3.8)
    title = "Reconstruction against sparsity: best at the lower left"
    axis = plain(figure.add_subplot(), title, xlabel="active units (%)", ylabel="squared error of reconstruction")
    for place, row in enumerate(rows):
        point = 100 * row["l0"] / row["units"], row["reconstruction_error"]
        axis.plot(*point, "o", color=COLOURS[place % len(COLOURS)])
        axis.annotate(row["name"], point, xytext=(6, 3), textcoords="offset points", fontsize=8)
    axis.margins(x=0.15, y=0.12)
    if min(row["l0"] for row in rows) > 0:
        from matplotlib.ticker import LogLocator, NullLocator

        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    return figure
