"""What the feature browser shows of a model on some inputs, as arrays."""

import numpy as np

from keras_sae.metrics import ACTIVE_ABOVE
from keras_sae.visualization._composition import as_array, composition
from keras_sae.visualization._features import cut_out, decoder_features, full_scale
from keras_sae.visualization._figure import check_drawn
from keras_sae.visualization._patch_shapes import folded, patches_of

STEPS = 12  # units that a composition shows one by one
_SIDE = 64  # larger pictures are made smaller
_BYTES = 6_000_000  # of features, and of what units add: before they are compressed
_ENTRIES = 2**24  # of codes that are in memory at a time


def page_data(model, inputs, labels, count):
    """Dictionary of arrays, and one of settings, that the script of the page reads.

    Everything about units is measured on all `inputs`. The page shows the first `count` of them, or fewer, where the pictures
    of what units add to their reconstructions would take too much space.
    """
    peaks, rates = _peaks_and_rates(model, inputs)
    threshold = 0.0 if model.has_exact_zeros else ACTIVE_ABOVE
    figures = unit_figures(peaks, labels, threshold)
    shape = decoder_features(model, [0]).shape[1:]
    units = np.argsort(-np.abs(peaks).sum(axis=0), kind="stable")[: max(1, _BYTES // _size(shape))]
    units.sort()
    features = _features(model, units)
    shown = inputs[: min(count, len(inputs))]
    targets = _targets(model, shown[:1])
    kind = check_drawn(targets.shape[1:])
    shown = shown[: max(1, _BYTES // (STEPS * _size(targets.shape[1:])))]
    targets = _targets(model, shown)
    strongest, added, nothing = composition(model, shown, STEPS)
    targets, added, nothing = (_small(each, kind) for each in (targets, added, nothing))
    low, high = value_range(targets, kind)
    own = _small(shown, kind) if kind == "image" and model.preprocessing is not None else targets
    arrays = {
        "rate": rates[units],
        **{name: values[units] for name, values in figures.items()},
        "unit": units.astype("int32"),
        "codes": peaks[: len(shown), units],
        "strongest": strongest.astype("int32"),
        "nothing": nothing,
        "error": _errors(targets, nothing, added),
    }
    arrays = {name: values.astype("int32" if values.dtype.kind in "iu" else "float32") for name, values in arrays.items()}
    arrays["features"] = np.round(127 * features).astype("int8")
    arrays["added"], arrays["addedScale"] = _in_8_bits(added)
    arrays["targets"] = _bytes_of(targets, low, high)
    if own is not targets:
        arrays["inputs"] = _bytes_of(own, *(input_range := value_range(own, kind)))
    settings = {
        "kind": kind,
        "shape": list(targets.shape[1:]),
        "featureShape": list(features.shape[1:]),
        "range": [float(low), float(high)],
        "inputShape": list(own.shape[1:]),
        "inputRange": [float(each) for each in (input_range if own is not targets else (low, high))],
        "measured": len(inputs),
        "units": peaks.shape[1],
        "threshold": threshold,
    }
    return arrays, settings


def unit_figures(peaks, labels=None, threshold=0.0):
    """Figures of each unit, float arrays of shape `(units,)`.

    Args:
        peaks: Float array of shape `(inputs, units)`: the activations, in a code of maps the strongest of each map.
        labels: Integers of shape `(inputs,)`, or None.
        threshold: Absolute value above which a unit is active.

    Returns:
        Dictionary: `active`, the share of inputs for which the unit is active; `largest`, the largest absolute activation;
        `sparsity`, Hoyer's sparseness of the unit over the inputs, NaN for a dead unit and a single input; and with labels
        `purity`, the largest share of one label in the sum of absolute activations, and `label`, this label (-1: dead).
    """
    size = np.abs(peaks).astype("float64")
    total, root = size.sum(axis=0), np.sqrt(len(size))
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = {
            "active": (size > threshold).mean(axis=0),
            "largest": size.max(axis=0),
            "sparsity": (root - total / np.sqrt((size**2).sum(axis=0))) / (root - 1),
        }
        if labels is not None:
            mass = np.stack([size[labels == label].sum(axis=0) for label in range(labels.max() + 1)])
            figures["purity"] = mass.max(axis=0) / total
            figures["label"] = np.where(total > 0, mass.argmax(axis=0), -1)
    return figures


def value_range(samples, kind):
    """The values that are drawn lowest and highest: [0, 1] for images, symmetric where they have negative values."""
    if kind == "image" and samples.min() >= 0:
        return 0.0, max(1.0, samples.max())
    if kind == "series":
        low, high = samples.min(), samples.max()
        return (low, high) if low < high else (low - 1, high + 1)
    # Few pixels of images whose mean is 0 are far stronger than the rest, and would leave it faint.
    strongest = (np.quantile(np.abs(samples), 0.995) if kind == "image" else np.abs(samples).max()) or 1.0
    return -strongest, strongest


def _peaks_and_rates(model, inputs):
    """The activation of largest magnitude of each unit on each input, and the rates of units."""
    each = max(int(np.prod([size or 1 for size in layer.output.shape[1:]])) for layer in model.encoder.layers)
    batch, peaks, total = max(1, min(256, _ENTRIES // each)), [], 0
    for start in range(0, len(inputs), batch):
        codes = as_array(model.encoder(inputs[start : start + batch], training=False))
        flat = codes.reshape(len(codes), -1, codes.shape[-1])
        total = total + flat.mean(axis=1, dtype="float64").sum(axis=0)
        peaks.append(np.take_along_axis(flat, np.abs(flat).argmax(axis=1)[:, None], axis=1)[:, 0])
    return np.concatenate(peaks), total / len(inputs)


def _features(model, units):
    """The features of units, each scaled to [-1, 1]."""
    parts = [decoder_features(model, units[start : start + 256]) for start in range(0, len(units), 256)]
    features = np.concatenate(parts)
    kind = check_drawn(features.shape[1:])
    features = _small(cut_out(features, kind), kind)
    return np.clip(features / full_scale(features), -1, 1)


def _targets(model, inputs):
    targets = as_array(model.target_of(inputs))
    patches = patches_of(model)
    return targets if patches is None else folded(patches, targets)


def _small(samples, kind):
    """Samples `(..., *shape)` whose pictures have at most 64 pixels on a side, by the mean of squares of pixels."""
    if kind != "image":
        return samples
    axis = samples.ndim - (3 if samples.shape[-1] in (1, 3) else 2)
    height, width = samples.shape[axis : axis + 2]
    factor = -(-max(height, width) // _SIDE)
    if factor == 1:
        return samples
    rows, columns = height // factor, width // factor
    cut = samples[(*[slice(None)] * axis, slice(rows * factor), slice(columns * factor))]
    split = cut.reshape(*samples.shape[:axis], rows, factor, columns, factor, *samples.shape[axis + 2 :])
    return split.mean(axis=(axis + 1, axis + 3))


def _errors(targets, nothing, added):
    """Mean squared error with no unit, the first, the first two, ..., and all: `(inputs, STEPS + 2)`."""
    sums = nothing + np.cumsum(np.concatenate([np.zeros_like(added[:, :1]), added], axis=1), axis=1)
    return np.square(sums - targets[:, None]).mean(axis=tuple(range(2, sums.ndim)))


def _in_8_bits(pictures):
    """Pictures `(inputs, steps, *shape)` as int8, and the scale of each: `picture = scale * stored`."""
    scale = np.abs(pictures).max(axis=tuple(range(2, pictures.ndim)), keepdims=True) / 127
    stored = np.round(pictures / np.where(scale > 0, scale, 1)).astype("int8")
    return stored, scale.reshape(scale.shape[:2]).astype("float32")


def _bytes_of(samples, low, high):
    return np.round(255 * np.clip((samples - low) / (high - low), 0, 1)).astype("uint8")


def _size(shape):
    return min(int(np.prod(shape)), _SIDE**2 * shape[-1] if len(shape) == 3 else np.inf)
