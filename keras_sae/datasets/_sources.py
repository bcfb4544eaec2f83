import contextlib
import errno
import os
import socket
import urllib.request
from pathlib import Path

from keras_sae._checks import nearest
from keras_sae.datasets import _patches
from keras_sae.datasets._arrays import SHIPPED, file_of, read_file, splits_of
from keras_sae.datasets._fashion_mnist_sample import SAMPLE
from keras_sae.datasets._own_data import bare_path_of, check_no_options, open_path, path_of
from keras_sae.datasets._splits import examples_of

# Data sets that the package makes itself, and their modules. A module has `DATA_SETS`, the names; `COUNTS`, the number of
# examples in each split; and `read(name, split)`, which returns a dictionary of the arrays `image` and `label`.
_MADE_HERE = {name: module for module in (_patches,) for name in module.DATA_SETS}


def find_source(name, data_dir=None, options=None):
    """The names of the splits of a data set, and a function that gives the stored examples of a split as a `tf.data.Dataset`.

    Args:
        options: Dictionary of how to read a folder or table, see `keras_sae.datasets.load`.

    Raises:
        ValueError, FileNotFoundError: As in `find_builder`.
    """
    import tensorflow as tf

    path = path_of(name, data_dir)
    if path is not None:
        opened = open_path(path, **(options or {}))
        return list(opened.counts), opened.dataset
    if name in _MADE_HERE:
        check_no_options(name, options)
        module = _MADE_HERE[name]
        return list(module.COUNTS), lambda split: tf.data.Dataset.from_tensor_slices(module.read(name, split))
    path = file_of(name, data_dir)
    if path.is_file():
        check_no_options(name, options)

        def from_file(split):
            images, labels = read_file(path, split)
            return tf.data.Dataset.from_tensor_slices(
                {"image": images} if labels is None else {"image": images, "label": labels}
            )

        return splits_of(path), from_file
    try:
        builder = find_builder(name, data_dir)
    except UnknownName:
        folder = bare_path_of(name, data_dir)
        if folder is None:
            raise
        opened = open_path(folder, **(options or {}))
        return list(opened.counts), opened.dataset
    check_no_options(name, options)
    counts = {part: info.num_examples for part, info in builder.info.splits.items()}

    def from_builder(split):
        examples_of(name, split, counts)
        return builder.as_dataset(split=split, shuffle_files=False)

    return list(counts), from_builder


def find_builder(name, data_dir=None):
    """The TFDS builder of an image data set. Downloads the data first if it is not on this machine.

    Raises:
        ValueError: TFDS does not know the data set, or it does not have one image per example.
        FileNotFoundError: The data is not on this machine and cannot be downloaded. The message has the command to run.
    """
    import tensorflow_datasets as tfds

    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR")
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = [*SHIPPED, *_MADE_HERE, *tfds.list_builders(with_community_datasets=False)]
        raise _unknown(name, data_dir, known) from error
    except Exception as error:  # TFDS raises many types for names, versions and folders that it cannot read
        reason = _first_line(error).split('}": ')[-1]
        raise ValueError(
            f"TensorFlow Datasets cannot load {name!r}: {reason} A name looks like 'mnist', or with "
            "a version like 'mnist:3.0.1'."
        ) from error
    if not builder.is_prepared():
        _download(builder, name, data_dir)
    features = builder.info.features
    if "image" not in features or getattr(features["image"], "shape", None) is None or len(features["image"].shape) != 3:
        raise ValueError(
            f"keras_sae.datasets loads data sets with one image per example, and {name!r} has the features {list(features)}. "
            "Load it with tfds.load and map its examples to images."
        )
    return builder


def _unknown(name, data_dir, known):
    """The error for a name that is neither a file of arrays nor a data set of TFDS."""
    path = file_of(name, data_dir)
    known = [*known, *(file.stem for file in path.parent.glob("*.npz"))]
    return UnknownName(
        f"There is no file {str(path)!r}, no folder {str(name)!r}, and TensorFlow Datasets has no data set named {name!r}. "
        f"{nearest(name, known, 0.75)}"
        "https://www.tensorflow.org/datasets/catalog lists all names."
    )


class UnknownName(ValueError):
    """TFDS has no data set of a name."""


@contextlib.contextmanager
def damage_named(name, data_dir=None):
    """Translates the errors of TensorFlow while it reads a data set: they do not name the file."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        try:
            builder = None if path_of(name, data_dir) else find_builder(name, data_dir)
        except UnknownName:
            builder = None
        if builder is None:  # files of a folder, all of which could be read a moment ago
            raise OSError(f"A file of {name!r} changed while it was read: {_first_line(error)} Start again.") from error
        folder = Path(builder.data_dir)
        damaged = [str(file) for file in sorted(folder.glob("*.tfrecord*")) if not _is_readable(file)]
        raise OSError(
            f"The data set {name!r} cannot be read: {', '.join(damaged) or folder} is damaged ({_first_line(error)}). Delete "
            f"the folder {str(folder)!r}, and run `tfds build {name}` or copy it again."
        ) from error


def _is_readable(file):
    import tensorflow as tf

    try:
        for _ in tf.data.TFRecordDataset(str(file)).batch(1000):
            pass
    except tf.errors.OpError:
        return False
    return True


def _download(builder, name, data_dir):
    try:
        if not _has_network():
            raise ConnectionError("this machine has no network")
        builder.download_and_prepare()
    except Exception as error:  # the network, the disk and the code of the data set raise errors of any type
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full or "No space left" in str(error):
            raise OSError(
                f"The disk of {str(builder.data_dir)!r} is full, so the data set {name!r} cannot be written: {error}. Free "
                "some space, or choose another folder by `data_dir`."
            ) from error
        option = f" --data_dir={data_dir}" if data_dir else ""
        raise FileNotFoundError(
            f"The data set {name!r} is not in {str(builder.data_dir)!r}, and the download failed: "
            f"{type(error).__name__}: {_first_line(error)}\n"
            "On a machine with a network, run:\n\n"
            f"    tfds build {name}{option}\n\n"
            "If the files are in another folder, pass it as `data_dir`, or set the environment variable TFDS_DATA_DIR. The "
            f"data set {SAMPLE!r} comes with this package."
        ) from error


def _has_network():
    """Whether host names resolve. Without a network, TFDS would try for minutes before it fails."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo("www.tensorflow.org", 443)
    except OSError:
        return False
    return True


def _first_line(error):
    return next(iter(str(error).splitlines()), "")[:300]
