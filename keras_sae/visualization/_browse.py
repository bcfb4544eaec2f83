import base64
import gzip
import html
import json
import os
import re
from pathlib import Path

import numpy as np

from keras_sae._checks import check_integer
from keras_sae._pixels import as_input
from keras_sae.version import __version__
from keras_sae.visualization._figure import check_drawn
from keras_sae.visualization._page_data import page_data

MOST_BYTES = 10_000_000
_GENERATOR = '<meta name="generator" content="keras_sae feature browser'
_PARTS = Path(__file__).resolve().parent / "browser"


def browse(model, data, path, label_names=None, names=None, columns=None, title=None, source=None, count=500):
    """Writes a page to look through the units of a model, as one HTML file that needs no server and no network.

    The page has a grid of units, which can be sorted and searched: the feature of each unit, how often and how strongly it is
    active, how sparse, and which label it prefers. A unit opens with its most active inputs, a histogram of its activations and
    the units that are active with it. An input opens with the units that are active for it, and with its reconstruction, put
    together unit by unit. Everything about units is measured on all of `data`.

    Args:
        model: A `SparseAutoencoder` of images, vectors or series, see `plot_features`.
        data: Array of inputs, as the model reads them, or a pair `(inputs, labels)` with integers from 0 on, as
            `keras_sae.datasets.load_arrays` returns it. uint8 is divided by 255. The file holds the pictures of the inputs
            that it shows: take data whose licence lets you pass them on.
        path: Where to write the file, such as `"browser.html"`. A file that this function wrote before is replaced; any other
            is not.
        label_names: List of strings, the names of the labels 0, 1, ... .
        names: List of strings, one for each input, such as the words of an embedding, or the names of files. A unit on vectors
            with names is then described by the inputs for which it is most active.
        columns: List of strings, the names of the columns of a table or of the channels of a series.
        title: String, the heading. By default the name of the model.
        source: String, where the data comes from, and its licence. The page shows it.
        count: Integer, at least 1. How many inputs the page shows; fewer where the file would be larger than 10 MB.

    Returns:
        The path, a `pathlib.Path`.

    Raises:
        ValueError: An argument does not fit the others, or the inputs cannot be drawn.
        FileExistsError: There is another file at `path`.
    """
    path = _free(path)
    inputs, labels = data if isinstance(data, tuple) else (data, None)
    inputs = as_input(inputs).astype("float32")
    labels = None if labels is None else np.asarray(labels)
    count = check_integer("count", count, "is the number of inputs that the page shows")
    _check(model, inputs, labels, label_names, names, columns)
    settings = {
        "title": title or model.name,
        "source": source or "",
        "columns": columns and list(map(str, columns)),
        "labelNames": _label_names(labels, label_names),
    }
    while True:
        arrays, drawn = page_data(model, inputs, labels, count)
        shown = len(arrays["codes"])
        settings["labels"] = None if labels is None else labels[:shown].tolist()
        settings["names"] = None if names is None else list(map(str, names[:shown]))
        page = _page({**settings, **drawn}, arrays)
        if len(page) <= MOST_BYTES or shown == 1:
            break
        count = shown // 2
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(page)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _free(path):
    """The path, where nothing is, or a page that `browse` wrote."""
    path = Path(path).expanduser()
    if path.is_dir() or (path.exists() and _GENERATOR.encode() not in path.read_bytes()[:1000]):
        raise FileExistsError(
            f"{str(path)!r} exists, is not a page of `browse`, and is not overwritten. Choose another name, or remove it first."
        )
    return path


def _check(model, inputs, labels, label_names, names, columns):
    expected = model.input_shape[1:]
    fits = inputs.ndim == len(expected) + 1 and all(
        size in (None, own) for size, own in zip(expected, inputs.shape[1:], strict=True)
    )
    if not fits or len(inputs) == 0:
        raise ValueError(
            f"`data` are inputs of the model, of shape (n, {', '.join(map(str, expected))}), with n at least 1. Received: an "
            f"array of shape {inputs.shape}."
        )
    check_drawn(inputs.shape[1:])
    if not np.isfinite(inputs).all():
        wrong = next(index for index, each in enumerate(inputs) if not np.isfinite(each).all())
        raise ValueError(f"`data` must be finite. Received: NaN or infinite values in input {wrong}. Remove it, or fill them.")
    for what, values, size in (
        ("labels", labels, len(inputs)),
        ("names", names, len(inputs)),
        ("columns", columns, inputs.shape[-1]),
    ):
        if values is not None and len(values) != size:
            each = "column or channel" if what == "columns" else "input"
            raise ValueError(f"`{what}` has one entry for each {each}. Received: {len(values)} of them for {size}.")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0):
        raise ValueError(
            f"Labels are integers from 0 on, of shape (n,). Received: dtype {labels.dtype} and shape {labels.shape}. Convert "
            "classes by `names, labels = numpy.unique(classes, return_inverse=True)`."
        )
    if label_names is not None and (labels is None or labels.max() >= len(label_names)):
        largest = "no labels" if labels is None else f"the label {labels.max()}"
        raise ValueError(f"`label_names` names the labels 0, 1, ... . Received: {len(label_names)} names and {largest}.")


def _label_names(labels, names):
    if labels is None:
        return None
    return list(map(str, range(labels.max() + 1) if names is None else names))


def _page(settings, arrays):
    """The file, as bytes."""
    layout, packed = _packed(arrays)
    settings = json.dumps({**settings, "arrays": layout}, ensure_ascii=False, allow_nan=False)
    parts = {
        "generator": f"keras_sae feature browser {__version__}",
        "title": html.escape(json.loads(settings)["title"]),
        "style": (_PARTS / "page.css").read_text(encoding="utf-8"),
        "script": (_PARTS / "page.js").read_text(encoding="utf-8"),
        "settings": settings.replace("<", "\\u003c"),  # so that no text in it ends the element
        "arrays": packed,
    }
    page = (_PARTS / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page).encode()


def _packed(arrays):
    """Where each array lies in one block of bytes, and the block, compressed, in base64."""
    layout, blocks, offset = [], [], 0
    for name, values in sorted(arrays.items(), key=lambda item: -item[1].itemsize):  # aligned: the widest first
        block = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        layout.append({"name": name, "dtype": values.dtype.name, "shape": values.shape, "offset": offset})
        blocks.append(block)
        offset += len(block)
    return layout, base64.b64encode(gzip.compress(b"".join(blocks), 6, mtime=0)).decode()
