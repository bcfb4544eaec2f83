"""Reads PNG, JPEG, BMP and GIF files: what their headers say, whether they can be decoded, and their pixels."""

import functools
import struct
from pathlib import Path

import keras
import numpy as np

# What `keras.utils.image_dataset_from_directory` reads, and pictures that it would leave out without a word.
FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
OTHER_PICTURES = (".tif", ".tiff", ".webp", ".heic", ".avif", ".jp2", ".ppm", ".pgm", ".tga", ".exr", ".dng")

RESIZE = ("stretch", "crop", "pad")
COLOR_MODES = ("rgb", "grayscale")

_NAMED = 10  # files that an error names
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of JPEG that are followed by sizes


def mode_of(path):
    """What the header of a file says: `"grey"`, `"colour"`, `"alpha"`, `"transparent"` or `"16 bit"`; None if it says nothing.

    "alpha" has a channel of transparency that may be opaque everywhere. "transparent" has a transparent colour.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(29)
            if start.startswith(b"\x89PNG\r\n\x1a\n") and len(start) >= 26:
                return _mode_of_png(file, depth=start[24], kind=start[25])
            if start.startswith(b"\xff\xd8"):
                return _mode_of_jpeg(file)
            return "colour" if start.startswith((b"BM", b"GIF8")) else None
    except (OSError, struct.error, IndexError):
        return None


def _mode_of_png(file, depth, kind):
    if depth == 16:
        return "16 bit"
    if kind in (4, 6):
        return "alpha"
    file.seek(33)  # behind the header, chunks of length, type, content and checksum
    while chunk := file.read(8):
        length, name = struct.unpack(">I4s", chunk)
        if name in (b"tRNS", b"IDAT"):
            break
        file.seek(length + 4, 1)
    return "transparent" if chunk[4:] == b"tRNS" else "grey" if kind == 0 else "colour"


def _mode_of_jpeg(file):
    file.seek(2)
    while (segment := file.read(4)) and segment[0] == 0xFF:
        _, marker, length = struct.unpack(">BBH", segment)
        if marker in _START_OF_FRAME:
            return "grey" if file.read(6)[5] == 1 else "colour"
        file.seek(length - 2, 1)
    return None


def check_files(root, files):
    """Decodes every file once.

    Args:
        root: `pathlib.Path` of the folder.
        files: Tuple of paths in it, texts.

    Returns:
        `(sizes, is_grey)`: a dictionary from `(height, width)` to the first file of that size, and whether all files are grey.

    Raises:
        ValueError: Files cannot be read, have 16 bits per channel, or transparent pixels. The message names them.
    """
    return _checked(root, files, tuple(_stamp(root / file) for file in files))


def _stamp(path):
    """What changes when a file does. A link to nothing has none; it cannot be decoded either."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=16)
def _checked(root, files, stats):
    """`check_files`, remembered until a file changes: a run reads its data several times."""
    modes = [mode_of(root / file) for file in files]
    shapes, opaque = _shapes(root, files, [mode == "alpha" for mode in modes])
    broken = [file for file, mode, shape in zip(files, modes, shapes, strict=True) if shape is None or mode is None]
    if broken:
        reasons = [f"{file} ({_reason(root / file)})" for file in broken[:_NAMED]]
        raise ValueError(
            f"{len(broken)} of {len(files):,} images in {str(root)!r} cannot be read: {_listed(reasons, len(broken))}. "
            "Remove these files, or copy them again."
        )
    deep = [file for file, mode in zip(files, modes, strict=True) if mode == "16 bit"]
    if deep:
        raise ValueError(
            f"{len(deep)} of {len(files):,} images in {str(root)!r} have 16 bits per channel, whose range cannot be known from "
            f"the file: {_listed(deep)}. Divide them by the largest value of the camera, multiply by 255, and save "
            "them with 8 bits; or load them yourself as floats in [0, 1]."
        )
    clear = [file for file, mode, full in zip(files, modes, opaque, strict=True) if mode == "transparent" or not full]
    if clear:
        raise ValueError(
            f"{len(clear)} of {len(files):,} images in {str(root)!r} have transparent pixels, whose colour is undefined: "
            f"{_listed(clear)}. Put them on a background, for example with Pillow: Image.alpha_composite."
        )
    sizes = {}
    for file, shape in zip(files, shapes, strict=True):
        sizes.setdefault(shape, file)
    return sizes, all(_is_grey(root / file, mode) for file, mode in zip(files, modes, strict=True))


def _is_grey(path, mode):
    if mode == "alpha":
        with open(path, "rb") as file:
            return file.read(26)[25] == 4
    return mode == "grey"


def _shapes(root, files, has_alpha):
    """The size of each file, None if it cannot be decoded; and whether its pixels are opaque."""
    import tensorflow as tf

    def look(index, path, has_alpha):
        data = tf.io.read_file(path)
        pixels = tf.cond(has_alpha, lambda: tf.io.decode_png(data, channels=4), lambda: _decoded(data, 3))
        opaque = tf.logical_or(tf.logical_not(has_alpha), tf.reduce_all(tf.equal(pixels[..., -1], 255)))
        return index, tf.shape(pixels)[:2], opaque

    paths = [str(root / file) for file in files]
    found = tf.data.Dataset.from_tensor_slices((np.arange(len(files)), paths, has_alpha))
    found = found.map(look, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    shapes, opaque = [None] * len(files), [True] * len(files)
    for index, shape, full in found.as_numpy_iterator():
        shapes[index], opaque[index] = tuple(shape.tolist()), bool(full)
    return shapes, opaque


def _decoded(data, channels):
    """Pixels of an encoded file, as endpoints for encoded images decode them."""
    import tensorflow as tf

    return tf.io.decode_image(data, channels=channels, expand_animations=False)


def _reason(path):
    """Why a file cannot be decoded, in a few words."""
    import tensorflow as tf

    try:
        data = path.read_bytes()
        if not data:
            return "it is empty"
        _decoded(data, 3)
    except OSError as error:
        return error.strerror or str(error)
    except tf.errors.OpError as error:
        text = str(error).split("}} ")[-1].removesuffix(" [Op:DecodeImage]").splitlines()[0]
        return "it is no image" if "Unknown image file format" in text else text.rstrip(".")
    return "its header is damaged"


def _listed(names, count=None):
    count = len(names) if count is None else count
    more = f", and {count - _NAMED:,} more" if count > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def reader(image_size, resize, channels, shape):
    """A function of a path that gives its pixels, uint8 of shape `(height, width, channels)`, for `tf.data`.

    Args:
        image_size: `(height, width)` to resize to, or None.
        resize: One of `RESIZE`.
        channels: 1 or 3.
        shape: Size of the files, where all have the same.
    """
    import tensorflow as tf

    resizing = None
    if image_size is not None and image_size != shape:
        resizing = keras.layers.Resizing(
            *image_size,
            antialias=True,  # without it, shrinking drops rows of pixels, and small defects with them
            crop_to_aspect_ratio=resize == "crop",
            pad_to_aspect_ratio=resize == "pad",
            data_format="channels_last",
            dtype="float32",
        )

    def read(path):
        data = tf.io.read_file(path)
        if channels == 1:  # TensorFlow decodes these formats in colour only
            in_colour = tf.reduce_any([tf.strings.substr(data, 0, len(magic)) == magic for magic in (b"BM", b"GIF8")])
            pixels = tf.cond(in_colour, lambda: tf.image.rgb_to_grayscale(_decoded(data, 3)), lambda: _decoded(data, 1))
        else:
            pixels = _decoded(data, 3)
        pixels = tf.ensure_shape(pixels, (None, None, channels) if shape is None or resizing else (*shape, channels))
        if resizing is None:
            return pixels
        pixels = tf.clip_by_value(tf.round(resizing(tf.cast(pixels, "float32"))), 0, 255)
        return tf.ensure_shape(tf.cast(pixels, "uint8"), (*image_size, channels))

    return read


def check_reading(image_size, resize, color_mode):
    """The arguments of a folder of images, checked: `image_size` as a tuple or None."""
    if image_size is not None:
        pair = isinstance(image_size, list | tuple) and len(image_size) == 2
        if not pair or any(isinstance(each, bool) or not hasattr(each, "__index__") or each < 1 for each in image_size):
            raise ValueError(
                "`image_size` is what images are resized to, (height, width) in pixels, two integers of at least 1. "
                f"Received: image_size={image_size!r}."
            )
        image_size = tuple(map(int, image_size))
    for name, value, choices in (("resize", resize, RESIZE), ("color_mode", color_mode, (None, *COLOR_MODES))):
        if value not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}.")
    return image_size


def other_pictures(root):
    """Files of picture formats that cannot be read, as paths in the folder."""
    return sorted(path.relative_to(root).as_posix() for path in Path(root).rglob("*") if path.suffix.lower() in OTHER_PICTURES)
