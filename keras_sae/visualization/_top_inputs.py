from keras_sae._pixels import as_input
from keras_sae.visualization._figure import check_drawn, draw, new_figure


def plot_top_inputs(x, units, count=8, figure=None):
    """Draws the inputs that excite units most, a row for each unit, strongest first.

    Args:
        x: Array of inputs: vectors `(n, columns)`, series `(n, steps, channels)` or images `(n, height, width, channels)`.
        units: Some of the `units` that `keras_sae.evaluation.top_inputs(model, x)` returned, a list of dictionaries.
        count: Integer, how many inputs to show of each unit.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure. Titles are the indices of units, with the purity or similarity of their inputs where it was measured.
    """
    kind = check_drawn(x.shape[1:])
    if not units or any(isinstance(each["inputs"][:1][0], str) for each in units if each["inputs"]):
        raise ValueError(
            "`units` is a list of units whose inputs are rows of `x`, as `top_inputs` returns without `names`. "
            f"Received: {'an empty list' if not units else 'units with names'}."
        )
    figure = figure or new_figure(0.7 * count + 1.2, 0.7 * len(units) + 0.35)
    figure.suptitle("The inputs that excite each unit most", fontsize=10)
    for axes, unit in zip(figure.subplots(len(units), count, squeeze=False), units, strict=True):
        for axis in axes:
            axis.axis("off")
        measured = [f"{unit[key]:.2f}" for key in ("purity", "similarity") if unit.get(key) is not None]
        label = "\n".join([f"unit {unit['unit']}", *measured])
        axes[0].text(-0.2, 0.5, label, transform=axes[0].transAxes, ha="right", va="center", fontsize=8)
        rows = unit["inputs"][:count]
        samples = as_input(x[rows]).astype("float32")
        low, high = _scale(samples, kind) if rows else (0, 1)
        for axis, sample in zip(axes, samples, strict=False):
            draw(axis, sample, kind, low, high, "gray_r" if low == 0 else "gray")
    return figure


def _scale(samples, kind):
    low, high = float(samples.min()), float(samples.max())
    if kind == "image" and low >= 0:
        return 0, max(high, 1)
    return (low, high) if low < high else (low - 1, high + 1)
