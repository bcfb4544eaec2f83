import math

import numpy as np

from keras_sae._markdown import table
from keras_sae._nouns import noun_of
from keras_sae.evaluation._code_statistics import code_statistics
from keras_sae.evaluation._encode import encode
from keras_sae.evaluation._gabor import gabor_fit
from keras_sae.evaluation._suite import Suite, within
from keras_sae.evaluation._support_overlap import support_overlap
from keras_sae.visualization import decoder_features

# Time and memory of the support overlap grow with the square of this.
_OVERLAP_SAMPLES = 3000


def features(model, x, labels=None, *, gabor=False, overlap=False, samples=0, report=None):
    """Measures, without labels, how a model uses its code and how similar its features are.

    Args:
        model: A `SparseAutoencoder`.
        x: Array of inputs of shape `(n, ...)` that the model was not trained on. uint8 is divided by 255.
        labels: Integer array of shape `(n,)`, used by `overlap` alone.
        gabor: Whether to count the features that are edges or bars (`gabor_fit`), for grey images. Takes long.
        overlap: Whether to measure the overlap of codes within and between classes (`support_overlap` of the first 3,000
            samples).
        samples: Integer. How many samples to read, from the first; 0 for all. Wide maps of many images take long.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain numbers: those of `code_statistics`; `coherence`; with `gabor`, a dictionary of the shares of
        features and of random pictures that are well fitted by a Gabor function, `well_fitted` and `noise`; with `overlap`, a
        dictionary of `within` and `between` classes.
    """
    report = report or (lambda sentence: None)
    if samples:
        x, labels = x[:samples], None if labels is None else labels[:samples]
    report(f"Statistics of codes and reconstructions of {len(x):,} test samples ...")
    drawn = decoder_features(model)
    result = {**code_statistics(model, x), "coherence": coherence(drawn)}
    if gabor:
        report(f"Fitting Gabor functions to {len(drawn):,} features and to as many pictures of noise ...")
        noise = np.random.default_rng(0).normal(size=drawn.shape)
        shares = {name: gabor_fit(each)["well_fitted"].mean() for name, each in (("well_fitted", drawn), ("noise", noise))}
        result["gabor"] = {name: float(share) for name, share in shares.items()}
    if overlap:
        if labels is None:
            raise ValueError("`overlap` compares samples within and between classes, and there are no labels (labels=None).")
        result["overlap"] = support_overlap(encode(model, x[:_OVERLAP_SAMPLES]), np.asarray(labels)[:_OVERLAP_SAMPLES])
    return result


def coherence(features):
    """The largest |cos| of the angle between two features.

    0 if all features are orthogonal, 1 if one is a multiple of another. Features that are all zero are ignored.

    Args:
        features: Array of shape `(units, ...)`, such as `keras_sae.visualization.decoder_features` returns.

    Returns:
        Float in [0, 1]; 0 if there are fewer than two features.

    Example:

    >>> round(coherence(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, -4.0]])), 6)
    0.8

    Reference:
        Donoho and Elad, "Optimally sparse representation in general (nonorthogonal) dictionaries", PNAS 100, 2003.
    """
    features = np.asarray(features, "float32").reshape(len(features), -1)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    features = features[norms[:, 0] > 0] / norms[norms[:, 0] > 0]
    cosines = np.abs(features @ features.T)
    np.fill_diagonal(cosines, 0)
    return float(min(1, cosines.max(initial=0)))


def _section(figures, options, metadata):
    sizes = metadata["code_shape"][:-1]
    code = "the code of a position" if None in sizes else "a code"
    positions = 1 if None in sizes else math.prod(sizes)
    noun = noun_of(metadata["input_shape"], metadata["data"])
    entry = "pixel" if noun == "image" else "value"
    active = "not zero" if figures["active_above"] == 0 else f"above {figures['active_above']:g}"
    rows = [
        (f"Reconstruction error (mean squared error per {entry})", f"{figures['reconstruction_error']:.5f}"),
        *_explained(figures),
        (f"L0: active entries of {code} ({active})", f"{figures['l0'] * positions:.1f} of {figures['units'] * positions}"),
        ("Mean rate", f"{figures['mean_rate']:.4f}"),
        (f"Dead units: active for no test {noun}", f"{figures['dead_units']} of {figures['units']}"),
        ("Coherence: largest \\|cos\\| between two features", f"{figures['coherence']:.3f}"),
    ]
    if "gabor" in figures:
        shares = figures["gabor"]
        well = f"{100 * shares['well_fitted']:.0f} % (random pictures: {100 * shares['noise']:.0f} %)"
        rows.append(("Edges and bars: features well fitted by a Gabor function", well))
    if "overlap" in figures:
        overlap = figures["overlap"]
        both = f"{overlap['within']:.3f} within a class, {overlap['between']:.3f} between classes"
        rows.append((f"Overlap of the active units of two {noun}s (Jaccard index)", both))
    read = f"the first {options['samples']:,} test {noun}s" if options.get("samples") else ""
    return ["### Code and features", "", *([f"Measured on {read}.", ""] if read else []), *table(("", ""), rows), ""]


def _explained(figures):
    # Cards of earlier versions do not have this figure.
    return [("Explained variance", f"{figures[key]:.3f}") for key in ("explained_variance",) if key in figures]


def _paths(options):
    gabor = ("gabor.well_fitted", "gabor.noise") if options.get("gabor") else ()
    overlap = ("overlap.within", "overlap.between") if options.get("overlap") else ()
    of_code = ("l0", "mean_rate", "dead_units", "units", "active_above", "coherence")
    return ("reconstruction_error", "explained_variance", *of_code, *gabor, *overlap)


def _check(options, shape):
    if options.get("gabor") and (shape[2:] not in ((), (1,)) or min(shape[:2]) < 4 or len(shape) < 2):
        raise ValueError(f"`gabor` fits functions to grey images of at least 4 x 4 pixels. Received: images of shape {shape}.")


SUITE = Suite(
    features,
    _section,
    on_every_card=True,
    unit="",
    added=frozenset({"explained_variance"}),
    agrees=within({"gabor": 0.01, "explained_variance": 0.001}),
    figures=_paths,
    check=_check,
    reads_labels=lambda options: bool(options.get("overlap")),
    needs_sklearn=lambda options: bool(options.get("gabor")),
)
