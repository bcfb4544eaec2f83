import numpy as np

from keras_sae.visualization._figure import COLOURS, new_figure, plain


def plot_drift(report, figure=None):
    """Draws the scores of new data over those of the calibration, with the threshold.

    Args:
        report: What `keras_sae.anomaly.drift` returned.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure. Each curve shows the share of samples whose score is at most that on the axis.
    """
    low, high = report["flag_rate_range"]
    title = f"{report['flag_rate']:.1%} flagged; normal data: {low:.1%} to {high:.1%}"
    figure = figure or new_figure(6, 3.4)
    axis = plain(figure.add_subplot(), title, xlabel="score", ylabel="share of samples", ylim=(0, 1))
    shares = np.linspace(0, 1, len(report["scores"]))
    axis.plot(
        report["calibration_scores"], shares, color=COLOURS[3], label=f"calibration ({report['calibration_samples']:,} samples)"
    )
    changed = report["scores_changed"] or report["flag_rate_changed"]
    axis.plot(report["scores"], shares, color=COLOURS[2 if changed else 0], label=f"new ({report['samples']:,} samples)")
    axis.axvline(report["threshold"], color="0.2", linestyle=":", label="threshold")
    if min(report["scores"][0], report["calibration_scores"][0]) > 0:
        from matplotlib.ticker import LogLocator, NullLocator

        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(fontsize=8, frameon=False)
    return figure
