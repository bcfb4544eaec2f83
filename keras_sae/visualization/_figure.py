import numpy as np

# Ten colours that people with any kind of colour vision can tell apart (Petroff, arXiv:2107.02270).
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)


def new_figure(width, height):
    """A new empty figure, sizes in inches, outside pyplot's global state.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('Pictures need matplotlib: pip install "keras_sae[visualization]".') from error
    return Figure(figsize=(width, height), layout="constrained")


def plain(axis, title=None, **labels):
    """Axes in the style of all plots: a title, labels, and lines at the left and below only."""
    axis.set(**labels)
    if title:
        axis.set_title(title, fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.xaxis.label.set_size(9)
    axis.yaxis.label.set_size(9)
    return axis


def grid(count, width, height, title, figure=None):
    """A figure, and its axes without frames in a grid under a title: `count` tiles or a few more, sizes in inches."""
    across = int(np.ceil(np.sqrt(count * height / width)))
    down = int(np.ceil(count / across))
    figure = figure or new_figure(max(3.5, width * across), 0.35 + height * down)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes.flat


def mean_of_units(codes):
    """Mean absolute activation of each unit over positions, of codes `(n, ..., units)`."""
    codes = np.asarray(codes)
    if codes.ndim < 2 or codes.size == 0:
        raise ValueError(f"Codes have shape (n, ..., units), with at least one entry. Received: shape {codes.shape}.")
    return np.abs(codes).mean(axis=tuple(range(codes.ndim - 1)))


def drawn_as(shape):
    """How data of this shape is drawn: "vector", "series" (a line for each channel), "image", or None where it cannot be.

    Args:
        shape: Shape of one sample. Of two axes, `(steps, channels)` is a series, and `(height, width)` an image, whose sides
            differ less than twofold and have at least 8 pixels.
    """
    if len(shape) == 1:
        return "vector"
    if len(shape) == 2:
        low, high = sorted(shape)
        return "image" if low >= 8 and high <= 2 * low else "series"
    return "image" if len(shape) == 3 and shape[-1] in (1, 3) else None


def check_drawn(shape):
    """The result of `drawn_as`, or a ValueError."""
    kind = drawn_as(tuple(shape))
    if kind is None:
        raise ValueError(
            "Pictures can be drawn of vectors (columns,), series (steps, channels), and images (height, width) or (height, "
            f"width, channels) of 1 or 3 channels. Received: samples of shape {tuple(shape)}. Draw a part of each sample, such "
            "as a slice of a volume or three of the channels, with matplotlib."
        )
    return kind


def draw(axis, sample, kind, low, high, cmap):
    """Draws a vector, a series or an image in axes without frame, on the scale from `low` to `high`.

    Args:
        cmap: Colours of an image without colours of its own.
    """
    axis.axis("off")
    if kind == "image":
        image = sample[..., 0] if sample.ndim == 3 and sample.shape[-1] == 1 else sample
        if image.ndim == 3:
            image = np.clip((image - low) / (high - low), 0, 1)
        axis.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        return
    axis.set_ylim(low, high)
    axis.axhline(0, color="0.8", linewidth=0.5)
    if kind == "series":
        axis.plot(sample, linewidth=0.8)
    else:
        axis.stairs(sample, fill=True)
