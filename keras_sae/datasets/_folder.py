"""Folders of images as data sets."""

import hashlib
import importlib.util
import os
from pathlib import Path

import keras
import numpy as np

from keras_sae.datasets._image_files import check_files, check_reading, other_pictures, reader
from keras_sae.datasets._splits import examples_of

SPLITS = ("train", "test", "validation")
OPTIONS = ("image_size", "resize", "color_mode")


class Folder:
    """The images of a folder: `train/`, `test/` and `validation/` in it are its splits; else it is one split, `"train"`.

    Within a split, images lie flat, or in one folder for each class.

    Args:
        path: The folder.
        image_size, resize, color_mode: As in `keras_sae.datasets.load_folder`.

    Attributes:
        class_names: List of the names of classes, sorted; empty where images lie flat.
        counts: Dictionary from splits to their numbers of images.
        sizes: Dictionary from `(height, width)` of files to the first file of that size.
        size: `(height, width)` of the images as they are read.
        channels: 1 or 3.

    Raises:
        ValueError: There are no images, or some cannot be read, or they differ in size.
    """

    def __init__(self, path, image_size=None, resize="stretch", color_mode=None):
        if importlib.util.find_spec("tensorflow") is None:
            raise ImportError(
                "TensorFlow reads the images of a folder, and it is not installed. On a machine with TensorFlow, run "
                f"`keras-sae arrays {path} DIR`, copy DIR here, and read {Path(path).stem!r} with DIR as the data directory."
            )
        image_size = check_reading(image_size, resize, color_mode)
        self.root = Path(path).expanduser()
        files = _image_files(self.root)
        named = [split for split in SPLITS if (self.root / split).is_dir()]
        if named:
            files = [file for file in files if file.split("/")[0] in named]
            self._files = {split: [file for file in files if file.startswith(f"{split}/")] for split in named}
        else:
            self._files = {"train": files}
        self._files = {split: inside for split, inside in self._files.items() if inside}
        if not files:
            raise ValueError(f"The folders {', '.join(named)} of {str(self.root)!r} have no images in them.")
        depth = 2 if named else 1
        self._classes = {split: _classes(self.root, inside, depth) for split, inside in self._files.items()}
        self.class_names = sorted({name for classes in self._classes.values() for name in classes or ()})
        self.counts = {split: len(inside) for split, inside in self._files.items()}
        sizes, is_grey = check_files(self.root, tuple(sorted(files)))
        if len(sizes) > 1 and image_size is None:
            raise ValueError(_several_sizes(self.root, sizes))
        self.sizes = sizes
        self.size = image_size or next(iter(sizes))
        self.channels = {None: 1 if is_grey else 3, "grayscale": 1, "rgb": 3}[color_mode]
        self._read = reader(image_size, resize, self.channels, next(iter(sizes)) if len(sizes) == 1 else None)

    def files(self, split):
        """Paths in the folder of the images of a split, in the order of `dataset`, with the index of each one's class or None.

        A share such as `"train[:80%]"` is drawn by the SHA-256 of the paths in the split: it is the same on every machine,
        mixes the classes, and hardly changes when images are added.
        """
        chosen, labels = [], []
        for part, rows in examples_of(str(self.root), split, self.counts):
            files, classes = self._files[part], self._classes[part]
            drawn = sorted(range(len(files)), key=lambda index: hashlib.sha256(files[index].encode()).digest())[rows]
            chosen += [files[index] for index in sorted(drawn)]
            labels += [None if classes is None else self.class_names.index(classes[index]) for index in sorted(drawn)]
        return chosen, labels

    def dataset(self, split, start=0):
        """The examples of a split from `start` on as a `tf.data.Dataset`, which reads files when they are needed."""
        import tensorflow as tf

        files, labels = (each[start:] for each in self.files(split))
        columns = {"image": np.array([str(self.root / file) for file in files], dtype=object)}
        if None not in labels:
            columns["label"] = np.array(labels, "int64")
        return tf.data.Dataset.from_tensor_slices(columns).map(
            lambda example: {**example, "image": self._read(example["image"])}, num_parallel_calls=tf.data.AUTOTUNE
        )


def _image_files(root):
    """Paths of all images in a folder, as Keras lists them: sorted, relative, without hidden ones."""
    if not root.is_dir():
        raise ValueError(f"{str(root)!r} is no folder. Give the path of a folder of images.")
    refused = []
    for _ in os.walk(root, onerror=refused.append):
        pass
    if refused:
        named = ", ".join(f"{error.filename} ({error.strerror})" for error in refused[:5])
        raise PermissionError(
            f"{len(refused)} folders cannot be read: {named}{', ...' if len(refused) > 5 else ''}. Change their permissions, "
            f"or move them out of {str(root)!r}."
        )
    try:
        listed = keras.utils.image_dataset_from_directory(root, labels=None, shuffle=False, verbose=False).file_paths
    except ValueError:
        listed = []  # Keras refuses a folder without images
    files = [Path(file).relative_to(root).as_posix() for file in listed]
    files = sorted(file for file in files if not any(part.startswith((".", "__MACOSX")) for part in file.split("/")))
    others = other_pictures(root)
    if others:
        raise ValueError(
            f"PNG, JPEG, BMP and GIF files can be read, and {len(others)} pictures in {str(root)!r} have another format: "
            f"{', '.join(others[:5])}{', ...' if len(others) > 5 else ''}. Convert them to PNG, or remove them."
        )
    if not files:
        inside = sorted(path.name for path in root.iterdir())
        has = f"It has {', '.join(inside[:5])}{', ...' if len(inside) > 5 else ''}" if inside else "It is empty"
        raise ValueError(f"The folder {str(root)!r} has no images: no PNG, JPEG, BMP or GIF files. {has}.")
    return files


def _classes(root, files, depth):
    """The class of each file, the folder that it lies in; None where images lie flat."""
    flat = [file for file in files if file.count("/") < depth]
    if not flat:
        return [file.split("/")[depth - 1] for file in files]
    if len(flat) < len(files):
        nested = next(file for file in files if file not in flat)
        raise ValueError(
            f"Images of a folder lie flat, or in one folder for each class. In {str(root)!r}, {flat[0]!r} lies flat and "
            f"{nested!r} in a folder. Move the {len(flat)} flat images into a folder of their class."
        )
    return None


def _several_sizes(root, sizes):
    shown = ", ".join(f"{height} x {width} ({file})" for (height, width), file in list(sizes.items())[:5])
    return (
        f"The images in {str(root)!r} have {len(sizes)} different sizes (height x width): {shown}"
        f"{', ...' if len(sizes) > 5 else ''}. Give the size to bring them to, such as image_size = [64, 64], and how: "
        "resize = 'stretch', 'crop' (cuts off what does not fit) or 'pad' (adds black bars)."
    )
