import numpy as np

from keras_sae.visualization._figure import new_figure


def plot_clouds(clouds, position, figure=None):
    """Draws clouds of points in space side by side, with shared axes and colours.

    Args:
        clouds: Dictionary from titles to arrays of shape `(n, 3)`: data, and reconstructions of them.
        position: Array of shape `(n,)` that sets the colour of each point, such as its place on a surface.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    position = np.asarray(position)
    clouds = {title: np.asarray(points) for title, points in clouds.items()}
    for title, points in clouds.items():
        if points.shape != (len(position), 3):
            raise ValueError(
                "Clouds are arrays of shape (n, 3), and `position` has shape (n,), one number per point. Received: "
                f"{title!r} of shape {points.shape}, and position of shape {position.shape}."
            )
    figure = figure or new_figure(3.2 * len(clouds), 3.4)
    drawn = np.concatenate(list(clouds.values()))
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    for place, (title, points) in enumerate(clouds.items(), start=1):
        axis = figure.add_subplot(1, len(clouds), place, projection="3d")
        axis.scatter(*points.T, c=position, cmap="turbo", s=7, linewidths=0)
        axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axis.set_box_aspect(high - low, zoom=1.1)
        axis.set_axis_off()
        axis.view_init(elev=12, azim=-65)
        axis.set_title(title, fontsize=10, y=0.98)
    return figure


def plot_swiss_roll(clouds, figure=None):
    """Draws a rolled-up sheet, and what PCA and a nonlinear autoencoder reconstruct of it from two numbers.

    Args:
        clouds: What `keras_sae.evaluation.swiss_roll` returned as its second value: a dictionary of `data`, `pca` and
            `autoencoder`, arrays of shape `(n, 3)`, and `position` of shape `(n,)`.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure. Titles state the share of the variance that is reconstructed.
    """
    data = np.asarray(clouds["data"])
    variance = np.square(data - data.mean(axis=0)).mean()

    def titled(name, points):
        return f"{name}: {1 - np.square(points - data).mean() / variance:.1%} of variance"

    drawn = {
        "data": data,
        titled("PCA", clouds["pca"]): clouds["pca"],
        titled("autoencoder", clouds["autoencoder"]): clouds["autoencoder"],
    }
    return plot_clouds(drawn, clouds["position"], figure)
