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


def without_channel_of_one(images):
    """Images in the shape that matplotlib expects: `(n, height, width)` in grey, `(n, height, width, 3)` in colour."""
    return images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images
