"""The recipe for a folder of images, a table, a series or vectors that come without one."""

import math
from pathlib import Path

from keras_sae._nouns import noun_of
from keras_sae.datasets import Folder, Vectors, open_path

MOST_PIXELS = 128  # of a side: larger images are shrunk
_STEPS, _BATCH = 2000, 32
_OF_VECTORS = {"steps": 5000, "batch": 256, "units": 4096, "k": 32}


def default_recipe(content):
    """The content of a recipe for data of its own, a dictionary.

    Images and series get a k-sparse autoencoder of 64 units, 8 of them active. Tables get a linear code with a third as many
    units as columns, and are standardised inside the model. Images larger than 128 pixels are shrunk to that, in their shape.
    The training takes about 2,000 steps of 32 samples. Vectors get a k-sparse autoencoder of 8 units for each entry, up to
    4,096, of which 32 are active; 5,000 steps of 256 samples. Where there is no split `test`, a fifth of the data is held out.

    Args:
        content: Dictionary with `data`, which has the `name` (a path) and perhaps how to read it.

    Raises:
        ValueError, FileNotFoundError: The data cannot be read.
    """
    data = dict(content["data"])
    given = {key: value for key, value in data.items() if key not in ("name", "train", "test", "validation", "licence")}
    opened = open_path(data["name"], **given)
    if isinstance(opened, Folder):
        data |= _size_of(opened, given)
        opened = open_path(data["name"], **{key: data[key] for key in (*given, "image_size") if key in data})
    split = {"train": "train", "test": "test"} if "test" in opened.counts else {"train": "train[:80%]", "test": "train[80%:]"}
    if "train" not in opened.counts:
        raise ValueError(
            f"{data['name']!r} has the splits {list(opened.counts)}, and none to train on. Add a folder 'train', or name a "
            "folder without splits."
        )
    data = {**split, **data}
    spec = opened.dataset(data["train"])
    shape, count = tuple(spec.element_spec["image"].shape), int(spec.cardinality())
    noun = noun_of(shape, data)
    model = _model_of_vectors(shape) if isinstance(opened, Vectors) else _model(shape)
    steps, batch = (_OF_VECTORS["steps"], _OF_VECTORS["batch"]) if isinstance(opened, Vectors) else (_STEPS, _BATCH)
    sparse = "sparsity" in model
    return {
        "title": f"{'k-sparse autoencoder' if sparse else 'Autoencoder'} of the {noun}s in {Path(data['name']).name}",
        **({"mechanism": "ksparse"} if sparse else {}),
        "epochs": min(200, max(3, round(steps / math.ceil(count / batch)))),
        "batch_size": batch,
        "seed": 0,
        **content,
        "data": data,
        "model": model,
        "optimizer": {"class": "Adam", "learning_rate": 0.001},
    }


def _size_of(folder, given):
    """The size to bring images to, in a dictionary; empty where they are small, or it is given."""
    height, width = folder.size
    if "image_size" in given or max(height, width) <= MOST_PIXELS:
        return {}
    share = MOST_PIXELS / max(height, width)
    return {"image_size": [max(1, round(height * share)), max(1, round(width * share))]}


def _model(shape):
    # Columns have units of their own. Scaled inside the model, the detector reads raw rows wherever it is served.
    scaling = {"preprocessing": {"class": "Standardize"}}
    if len(shape) == 1:  # columns depend on each other, or they would not tell each other's anomalies: few units hold them
        return {"class": "DenseAutoencoder", "code_units": max(1, min(64, shape[0] // 3)), "activation": "linear", **scaling}
    return {
        "class": "DenseAutoencoder",
        "code_units": 64,
        "sparsity": {"class": "KSparse", "k": 8},
        **({"center": True} if len(shape) == 3 else scaling),
    }


def _model_of_vectors(shape):
    units = min(_OF_VECTORS["units"], 8 * math.prod(shape))
    return {
        "class": "DenseAutoencoder",
        "code_units": units,
        "sparsity": {"class": "KSparse", "k": min(_OF_VECTORS["k"], max(1, units // 8))},
        "center": True,
    }
