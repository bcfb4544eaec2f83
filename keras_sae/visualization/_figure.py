import numpy as np


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
