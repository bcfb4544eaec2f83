"""Figures of scores and of maps where anomalies are known."""

import numpy as np


def average_precision(anomalous, scores):
    """The mean of the precision at the score of each anomalous example.

    The precision at a score is the share of anomalous examples among all with at least this score. Chance gives the share of
    anomalous examples.

    Args:
        anomalous: Boolean array of shape `(n,)`.
        scores: Array of shape `(n,)`.

    Example:

    >>> round(average_precision([False, False, True, True], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    anomalous, scores = np.asarray(anomalous, bool), np.asarray(scores)
    values, places = np.unique(-scores, return_inverse=True)  # highest first; equal scores share a place
    hits = np.bincount(places, anomalous, len(values))
    precision = np.cumsum(hits) / np.cumsum(np.bincount(places, minlength=len(values)))
    return float((hits * precision).sum() / hits.sum())


def aupro(masks, maps, limit=0.3):
    """The area under the curve of per-region overlap (AUPRO), for heat maps of which the anomalous pixels are known.

    At each threshold, the overlap of a region, a connected group of anomalous pixels, is the share of its pixels above the
    threshold; small and large regions count alike. The area is that under the mean overlap against the share of normal pixels
    above the threshold, from 0 to `limit`, divided by `limit`. Chance gives `limit / 2`.

    Args:
        masks: Boolean array of shape `(n, height, width)`, true where a pixel is anomalous. Images without any count too.
        maps: Array of the same shape, large where a pixel seems anomalous.
        limit: Float in (0, 1], the largest share of normal pixels.

    Raises:
        ValueError: The shapes differ, or no pixel is anomalous, or none is normal.

    Example:

    >>> masks = np.zeros((1, 4, 4), bool)
    >>> masks[0, :2, :2] = True
    >>> aupro(masks, masks.astype("float32"))
    1.0

    Reference:
        Bergmann et al., "MVTec AD", CVPR 2019.
    """
    from scipy.ndimage import label

    masks, maps = np.asarray(masks, bool), np.asarray(maps, "float64")
    if masks.shape != maps.shape or masks.all() or not masks.any():
        raise ValueError(
            "`masks` says of each pixel of `maps` whether it is anomalous; some must be and some not. Received: masks of shape "
            f"{masks.shape} with {int(masks.sum())} anomalous pixels, and maps of shape {maps.shape}."
        )
    normal = np.sort(maps[~masks])
    # A pixel of a region counts from the share of normal pixels on that lie at or above it. Its part of the area follows.
    areas = []
    for mask, map_ in zip(masks, maps, strict=True):
        regions, count = label(mask)
        for region in range(1, count + 1):
            above = 1 - np.searchsorted(normal, map_[regions == region], "left") / len(normal)
            areas.append(np.clip(limit - above, 0, None).mean() / limit)
    return float(np.mean(areas))
