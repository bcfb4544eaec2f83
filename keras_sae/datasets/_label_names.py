from keras_sae.datasets._arrays import file_of, has_tensorflow
from keras_sae.datasets._fashion_mnist_sample import LABELS, SAMPLE


def label_names(name, data_dir=None):
    """The names of the labels of a data set, in their order, or None where they have none.

    Args:
        name: The name of a data set of TFDS, or `"fashion_mnist_sample"`.
        data_dir: As in `load`.

    Example:

    >>> label_names("fashion_mnist_sample")[1]
    'Trouser'
    """
    if name in (SAMPLE, "fashion_mnist"):
        return list(LABELS)
    if file_of(name, data_dir).is_file() or not has_tensorflow():
        return None
    from keras_sae.datasets._sources import UnknownName, find_builder

    try:
        features = find_builder(name, data_dir).info.features
    except UnknownName:  # a data set that the package makes itself
        return None
    return list(getattr(features["label"], "names", None) or ()) or None if "label" in features else None
