import numpy as np

from keras_sae.evaluation._code_statistics import code_statistics, encode
from keras_sae.evaluation._gabor import gabor_fit
from keras_sae.evaluation._support_overlap import support_overlap
from keras_sae.visualization import decoder_features

# Support overlap takes time and memory as the square of this.
_OVERLAP_SAMPLES = 3000


def features(model, x, labels=None, *, gabor=False, overlap=False, report=None):
    """Measures what a model learned, without labels: how its code is used, and how alike its features are.

    Args:
        model: A `SparseAutoencoder`.
        x: Array of inputs of shape `(n, ...)`, which the model was not trained on. uint8 is divided by 255.
        labels: Integer array of shape `(n,)`, for `overlap` alone.
        gabor: Whether to tell how many features are edges or bars (`gabor_fit`), for grey images. Takes long.
        overlap: Whether to tell what samples of a class share (`support_overlap` of the first 3,000).
        report: Called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain numbers: those of `code_statistics`; `coherence`; with `gabor`, a dictionary of the shares of
        features that are `well_fitted` by a Gabor function and, for comparison, of pictures of `noise`; with `overlap`, one of
        `within` and `between` classes.
    """
    report = report or (lambda sentence: None)
    report(f"Statistics of codes, reconstructions and features of {len(x):,} test images ...")
    drawn = decoder_features(model)
    result = {**code_statistics(model, x), "coherence": coherence(drawn)}
    if gabor:
        report(f"Gabor functions fitted to {len(drawn):,} features, and to as many pictures of noise ...")
        noise = np.random.default_rng(0).normal(size=drawn.shape)
        shares = {name: gabor_fit(each)["well_fitted"].mean() for name, each in (("well_fitted", drawn), ("noise", noise))}
        result["gabor"] = {name: float(share) for name, share in shares.items()}
    if overlap:
        if labels is None:
            raise ValueError("`overlap` compares samples of a class with those of others, and there are no labels.")
        result["overlap"] = support_overlap(encode(model, x[:_OVERLAP_SAMPLES]), np.asarray(labels)[:_OVERLAP_SAMPLES])
    return result


def coherence(features):
    """How alike the two most similar features are: the largest |cos| between two of them.

    0 for orthogonal features, 1 where one is another one scaled. Features that are all zero are left out.

    Args:
        features: Array of shape `(units, ...)`, such as `keras_sae.visualization.decoder_features` gives.

    Returns:
        Float in [0, 1], or 0 where there are no two.

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
