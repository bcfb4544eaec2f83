import os
import socket
import urllib.request

from keras_sae._checks import nearest
from keras_sae.datasets import _patches
from keras_sae.datasets._arrays import file_of, read_file, splits_of
from keras_sae.datasets._fashion_mnist_sample import SAMPLE

# Data sets that the package makes itself, and their modules. A module has `DATA_SETS`, the names; `COUNTS`, the number of
# examples in each split; and `read(name, split)`, which returns a dictionary of the arrays `image` and `label`.
_MADE_HERE = {name: module for module in (_patches,) for name in module.DATA_SETS}


def find_source(name, data_dir=None):
    """The names of the splits of a data set, and a function that gives the stored examples of a split as a `tf.data.Dataset`.

    Raises:
        ValueError, FileNotFoundError: As in `find_builder`.
    """
    import tensorflow as tf

    if name in _MADE_HERE:
        module = _MADE_HERE[name]
        return list(module.COUNTS), lambda split: tf.data.Dataset.from_tensor_slices(module.read(name, split))
    path = file_of(name, data_dir)
    if path.is_file():

        def examples_of(split):
            images, labels = read_file(path, split)
            return tf.data.Dataset.from_tensor_slices(
                {"image": images} if labels is None else {"image": images, "label": labels}
            )

        return splits_of(path), examples_of
    builder = find_builder(name, data_dir)
    return list(builder.info.splits), lambda split: builder.as_dataset(split=split, shuffle_files=False)


def find_builder(name, data_dir=None):
    """The TFDS builder of an image data set. Downloads the data first if it is not on this machine.

    Raises:
        ValueError: TFDS does not know the data set, or it does not have one image per example.
        FileNotFoundError: The data is not on this machine and cannot be downloaded. The message has the command to run.
    """
    import tensorflow_datasets as tfds

    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = [SAMPLE, *_MADE_HERE, *tfds.list_builders(with_community_datasets=False)]
        raise ValueError(
            f"TensorFlow Datasets has no data set named {name!r}. {nearest(name, known)}"
            "https://www.tensorflow.org/datasets/catalog lists all names."
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


def _download(builder, name, data_dir):
    try:
        if not _has_network():
            raise ConnectionError("this machine has no network")
        builder.download_and_prepare()
    except Exception as error:  # the network, the disk and the code of the data set raise errors of any type
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
