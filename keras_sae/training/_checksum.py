import hashlib

import numpy as np

from keras_sae.datasets import OnDisk

_FIRST = 1024  # examples on disk that are read again whenever a run is resumed


def checksum(images, labels):
    """SHA-256 of pixels and labels, in order; of pixels alone if there are no labels."""
    digest = hashlib.sha256()
    for array, dtype in ((images, images.dtype), (labels, "<i8")):
        for part in array.parts() if isinstance(array, OnDisk) else [] if array is None else [array]:
            digest.update(np.ascontiguousarray(part, dtype=dtype))
    return digest.hexdigest()


def data_sha256(train, validation=None):
    """By split, the SHA-256 of what a run is trained on. Of data that stay on disk, the first examples and their number.

    Args:
        train: Pair of images and labels. Labels are None where the model does not read them.
        validation: `(images,)`, or None.
    """
    images, labels = (each[:_FIRST] if isinstance(each, OnDisk) else each for each in train)
    digest = checksum(images, labels)
    if isinstance(train[0], OnDisk):
        digest = hashlib.sha256(f"{len(train[0])} {digest}".encode()).hexdigest()
    return {"train": digest, **({"validation": checksum(*validation, None)} if validation else {})}
