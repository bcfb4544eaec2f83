import numpy as np

from keras_sae._checks import check_number
from keras_sae.visualization._figure import COLOURS, mean_of_units, new_figure, plain

_THRESHOLD = "is the absolute value above which a unit counts as active"


def plot_rates(codes, target=None, figure=None):
    """Draws the rates of all units, the highest first, and marks dead ones.

    Args:
        codes: Array of codes `(n, ..., units)`. A rate is the mean activation of a unit over positions.
        target: Float, a rate to draw a line at, such as that of a penalty.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure. Dead units, zero at every position, lie on red ground; the title counts them.
    """
    dead = mean_of_units(codes) == 0
    rates = np.mean(codes, axis=tuple(range(np.ndim(codes) - 1)), dtype="float64")
    order = np.lexsort((-rates, dead))  # dead ones last
    figure = figure or new_figure(6, 2.8)
    title = f"Rates of {len(rates):,} units; {dead.sum():,} {'is' if dead.sum() == 1 else 'are'} dead"
    axis = plain(figure.add_subplot(), title, xlabel="unit, by rate", ylabel="rate")
    axis.fill_between(np.arange(len(rates)), rates[order], step="mid", color=COLOURS[0])
    axis.margins(x=0)
    if dead.any():
        axis.axvspan((~dead).sum() - 0.5, len(rates) - 0.5, color=COLOURS[2], alpha=0.25, linewidth=0, label="dead")
    if target is not None:
        axis.axhline(target, color="0.2", linestyle=":", label=f"target {target:g}")
    if dead.any() or target is not None:
        axis.legend(fontsize=8, frameon=False)
    return figure


def plot_activity(codes, threshold=0.0, figure=None):
    """Draws how many units are active at a position, and how strongly.

    Args:
        codes: Array of codes `(n, ..., units)`.
        threshold: Float, at least 0. A unit is active above this absolute value. For a code without exact zeros take
            `keras_sae.evaluation.ACTIVE_ABOVE`.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure: left the histogram of active units (L0) over positions, right that of the activations of active units,
        with counts on a logarithmic scale.
    """
    threshold = check_number("threshold", threshold, _THRESHOLD, at_least=0)
    mean_of_units(codes)  # refuses what is no code
    codes = np.asarray(codes)
    units = codes.shape[-1]
    active = np.abs(codes) > threshold
    counts = active.reshape(-1, units).sum(axis=-1)
    figure = figure or new_figure(7, 2.8)
    left, right = figure.subplots(1, 2)
    low, high = int(counts.min()), int(counts.max())
    width = max(1, -(-(high - low + 1) // 40))
    left.hist(counts, bins=np.arange(low, high + width + 1, width) - 0.5, color=COLOURS[0])
    left.set_xlim(low - 2, high + 2)
    left.locator_params(axis="x", integer=True, nbins=6)
    mean = counts.mean()
    left.axvline(mean, color="0.2", linestyle=":")
    plain(left, f"{mean:,.1f} of {units:,} units active", xlabel="active units (L0)", ylabel="positions")
    right.hist(codes[active], bins=40, color=COLOURS[0])
    right.set_yscale("log")
    plain(right, f"{1 - active.mean():.1%} of entries are silent", xlabel="activation where active", ylabel="entries")
    return figure


def plot_embedding(codes, labels=None, label_names=None, figure=None):
    """Draws codes as points in a plane, coloured by label: their two principal components.

    Args:
        codes: Array of codes `(n, ..., units)`; or `(n, 2)`, drawn as they are: the result of another method, such as t-SNE.
        labels: Integers from 0 on, of shape `(n,)`, or None.
        label_names: List of strings, the names of the labels 0, 1, ... .
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure. Each label stands at the median of its points. The title states the share of variance in the plane.
    """
    flat = np.asarray(codes, "float64").reshape(len(codes), -1)
    if len(flat) < 2 or flat.shape[1] < 2 or (labels is not None and np.shape(labels) != (len(flat),)):
        raise ValueError(
            "An embedding needs at least two codes of at least two entries, and one label for each code. Received: codes of "
            f"shape {np.shape(codes)}, labels of shape {None if labels is None else np.shape(labels)}."
        )
    points, title = flat, None
    if flat.shape[1] > 2:
        flat = flat - flat.mean(axis=0)
        left, scales, _ = np.linalg.svd(flat, full_matrices=False)
        points = left[:, :2] * scales[:2]
        title = f"Two principal components: {(scales[:2] ** 2).sum() / max((scales**2).sum(), 1e-30):.0%} of the variance"
    figure = figure or new_figure(5, 4.2)
    axis = plain(figure.add_subplot(), title)
    axis.set(xticks=[], yticks=[])
    groups = np.zeros(len(flat), int) if labels is None else np.asarray(labels)
    for label in np.unique(groups):
        of_label = points[groups == label]
        axis.scatter(*of_label.T, s=9, linewidths=0, alpha=0.8, color=COLOURS[label % len(COLOURS)])
        if labels is not None:
            name = str(label) if label_names is None else label_names[label]
            box = {
                "boxstyle": "round,pad=0.15",
                "facecolor": "white",
                "edgecolor": COLOURS[label % len(COLOURS)],
                "alpha": 0.85,
            }
            axis.text(*np.median(of_label, axis=0), name, fontsize=8, ha="center", va="center", bbox=box)
    return figure
