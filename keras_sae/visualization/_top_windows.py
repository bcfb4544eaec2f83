import keras
import numpy as np

from keras_sae._checks import check_integer
from keras_sae._pixels import as_input
from keras_sae.visualization._figure import check_drawn, draw, grid


def plot_top_windows(model, images, codes, count=100, averaged=9, figure=None):
    """Draws what excites each unit of a code of maps most: the mean of the windows of images where it is strongest.

    Use it where the units themselves cannot be drawn (`plot_features`), because they read maps and not pixels. A window is a
    third of the image, around the place of the position in the map. Images are drawn as the encoder's last layer that keeps
    their shape leaves them, after a `keras_sae.layers.Deskew` for example.

    Args:
        model: A `SparseAutoencoder` of images `(height, width, channels)` of 1 or 3 channels, whose code is
            `(rows, columns, units)`.
        images: Array of images, `(n, height, width, channels)`, in [0, 1] or uint8.
        codes: Array of their codes, `(n, rows, columns, units)`.
        count: Integer, how many units to show: those with the largest mean square first.
        averaged: Integer, the number of images whose windows are averaged, the one with the strongest response first.
        figure: Matplotlib figure or subfigure to draw in. A new one by default.

    Returns:
        The figure.
    """
    averaged = min(check_integer("averaged", averaged, "counts the windows that are averaged"), len(images))
    kind = check_drawn(images.shape[1:])
    if kind != "image" or np.ndim(codes) != 4:
        raise ValueError(
            "Windows are cut from images `(height, width, channels)`, where a code of maps is strongest. "
            f"Received: images of shape {images.shape[1:]} and codes of shape {np.shape(codes)[1:]}."
        )
    seen = _as_the_encoder_sees(model, as_input(images).astype("float32"))
    order = np.argsort(-np.square(codes).mean(axis=(0, 1, 2)), kind="stable")[:count]
    title = f"What excites {len(order):,} of {np.shape(codes)[-1]:,} units most"
    figure, axes = grid(len(order), 0.6, 0.6, title, figure)
    for axis, unit in zip(axes, order, strict=False):
        draw(axis, _strongest_window(seen, np.abs(codes[..., unit]), averaged), kind, 0, 1, "gray_r")
    return figure


def _as_the_encoder_sees(model, images):
    """Images after the last layer of the encoder, from the first on, that keeps their shape."""
    last = model.encoder.inputs[0]
    for layer in model.encoder.layers[1:]:
        if tuple(layer.output.shape) != tuple(last.shape):
            break
        last = layer.output
    return keras.Model(model.encoder.inputs[0], last).predict(images, verbose=0)


def _strongest_window(images, responses, averaged):
    """The mean of the windows around the strongest response `(n, rows, columns)` of each of the most responding images."""
    sizes = images.shape[1:3]
    height, width = (max(1, size // 3) for size in sizes)
    above, left = height // 2, width // 2
    padded = np.pad(images, ((0, 0), (above, height), (left, width), (0, 0)))
    best = responses.reshape(len(images), -1)
    windows = []
    for index in np.argsort(-best.max(axis=1), kind="stable")[:averaged]:
        place = np.unravel_index(best[index].argmax(), responses.shape[1:])
        row, column = (int((at + 0.5) * size / many) for at, size, many in zip(place, sizes, responses.shape[1:], strict=True))
        windows.append(padded[index, row : row + height, column : column + width])
    return np.mean(windows, axis=0)
