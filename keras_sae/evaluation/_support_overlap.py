import math

import numpy as np


def support_overlap(codes, labels):
    """The overlap of the active units of two samples, within a class and between classes.

        overlap(a, b) = |active(a) and active(b)| / |active(a) or active(b)|        (Jaccard index)

    The mean over all pairs of different samples of one class, and over all pairs of different classes. An entry is active if it
    is not zero. The overlap of two samples without active entries is 0.

    Args:
        codes: Array of shape `(n, ...)`, flattened to `(n, units)`. Time and memory grow with `n` squared.
        labels: Integer array of shape `(n,)`.

    Returns:
        Dictionary of plain numbers in [0, 1]: `within` and `between`, None if there is no such pair.

    Raises:
        ValueError: The number of labels differs from the number of codes.

    Example:

    >>> support_overlap(np.array([[1, 2, 0], [3, 0, 0], [0, 0, 4]]), np.array([7, 7, 8]))
    {'within': 0.5, 'between': 0.0}
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if labels.ndim != 1 or len(codes) != len(labels):
        raise ValueError(
            "`labels` holds the class of each sample: codes of shape (n, ...) need labels of shape (n,). "
            f"Received: codes of shape {codes.shape} and labels of shape {labels.shape}."
        )
    active = (codes.reshape(len(codes), math.prod(codes.shape[1:])) != 0).astype("float32")
    common = active @ active.T
    sizes = active.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - common
    overlap = common / np.maximum(union, 1)
    pairs = ~np.eye(len(codes), dtype=bool)
    same = labels[:, None] == labels[None, :]
    chosen = {"within": pairs & same, "between": pairs & ~same}
    return {name: float(overlap[which].mean(dtype="float64")) if which.any() else None for name, which in chosen.items()}
