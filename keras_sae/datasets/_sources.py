import difflib
import os
import socket
import urllib.request

from keras_sae.datasets._arrays import file_of, read_file, splits_of
from keras_sae.datasets._fashion_mnist_sample import SAMPLE
from keras_sae.datasets._patches import COUNTS, DATA_SETS, read


def find_source(name, data_dir=None):
    """Where the stored examples of a data set come from: the names of its splits, and a function from a split to them.

    Raises:
        ValueError, FileNotFoundError: as `find_builder`.
    """
    import tensorflow as tf

    if name in DATA_SETS:
        return list(COUNTS), lambda split: tf.data.Dataset.from_tensor_slices(read(name, split))
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
    """The TFDS builder of an image data set whose files are on this machine, fetched first where that is possible.

    Raises:
        ValueError: TFDS knows no such data set, or it has no single image per example.
        FileNotFoundError: The data is not on this machine and could not be fetched. The message has the command to run.
    """
    import tensorflow_datasets as tfds

    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = [SAMPLE, *DATA_SETS, *tfds.list_builders(with_community_datasets=False)]
        near = difflib.get_close_matches(str(name), known, n=3)
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(
            f"TensorFlow Datasets knows no data set named {name!r}. {hint}"
            "The names are listed at https://www.tensorflow.org/datasets/catalog."
        ) from error
    if not builder.is_prepared():
        _fetch(builder, name, data_dir)
    features = builder.info.features
    if "image" not in features or getattr(features["image"], "shape", None) is None or len(features["image"].shape) != 3:
        raise ValueError(
            f"keras_sae.datasets loads data sets with one image per example, and {name!r} has the features "
            f"{list(features)}. Load it with tfds.load and map it to images."
        )
    return builder


def _fetch(builder, name, data_dir):
    try:
        if not _has_network():
            raise ConnectionError("this machine has no network")
        builder.download_and_prepare()
    except Exception as error:  # whatever the network, the disk or the source of the data raises
        option = f" --data_dir={data_dir}" if data_dir else ""
        raise FileNotFoundError(
            f"The data set {name!r} is not in {str(builder.data_dir)!r}, and fetching it failed: "
            f"{type(error).__name__}: {_first_line(error)}\n"
            "On a machine with a network, run:\n\n"
            f"    tfds build {name}{option}\n\n"
            "Where the files are elsewhere, name that folder with `data_dir`, or with the environment variable "
            f"TFDS_DATA_DIR. The data set {SAMPLE!r} needs no files."
        ) from error


def _has_network():
    """Whether host names resolve. Without this, TFDS tries for minutes before it gives up."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo("www.tensorflow.org", 443)
    except OSError:
        return False
    return True


def _first_line(error):
    return next(iter(str(error).splitlines()), "")[:300]
