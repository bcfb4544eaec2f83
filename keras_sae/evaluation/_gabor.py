import numpy as np

from keras_sae._checks import check_number

# Bounds of a fit, so that the picture can show the function: wavelength from two pixels to twice the picture, standard
# deviation of the envelope from half a pixel to the whole picture, centre inside the picture.
_HIGHEST_FREQUENCY = 0.5
_NARROWEST = 0.5
# Initial standard deviations of the envelope, as shares of the picture: across and along the stripes.
_FIRST_ENVELOPES = ((0.15, 0.22), (0.28, 0.28))


def gabor(shape, x, y, orientation, wavelength, phase, width, length, amplitude=1.0):
    """Draws a Gabor function: a wave under a Gaussian envelope.

        amplitude * exp(-u**2 / (2 * width**2) - v**2 / (2 * length**2)) * cos(2 * pi * u / wavelength + phase)

    with `u` and `v` the distances from the centre across and along the stripes.

    Args:
        shape: `(height, width)` of the picture in pixels.
        x, y: Column and row of the centre.
        orientation: Angle in radians from the rows to the direction in which the wave travels; 0 gives vertical stripes.
        wavelength: Float above 0, in pixels.
        phase: In radians. 0 has a stripe at the centre, ±pi / 2 an edge.
        width, length: Floats above 0. Standard deviations of the envelope in pixels, across and along the stripes.
        amplitude: Float.

    Returns:
        float64 array of that shape.

    Example:

    >>> gabor((1, 5), x=2, y=0, orientation=0, wavelength=4, phase=0, width=1, length=1).round(2)
    array([[-0.14,  0.  ,  1.  ,  0.  , -0.14]])

    Reference:
        Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
        two-dimensional visual cortical filters", 1985.
    """
    waves = _waves(shape, x, y, orientation, 1 / wavelength, width, length)
    return amplitude * (np.array([np.cos(phase), np.sin(phase)]) @ waves).reshape(shape)


def gabor_fit(features, threshold=0.8):
    """Measures how well each feature is described by a Gabor function, that is, by an oriented edge or bar.

    The seven parameters of `gabor` and its amplitude are fitted by least squares. Four fits start from the two highest peaks of
    the feature's spectrum with two envelopes each, and the best one is used. With `g` the fitted function,

        explained = 1 - sum (feature - g)**2 / sum (feature - mean(feature))**2

    A blob is a Gabor function too, with less than half a wave. Therefore a fit counts as `bandpass` only if the response of `g`
    to a uniform picture is at most half its response to its own wave. For a stripe at the centre, the envelope must then hold
    at least half a wave between -1 and +1 standard deviations; for an edge, the condition always holds. Gratings that fill the
    picture count, with any number of waves.

    Compare with fits to noise: `gabor_fit(np.random.default_rng(0).normal(size=features.shape))`. The fewer pixels a feature
    has, the better eight parameters fit even noise. The fits do not show whether features differ from each other.

    Args:
        features: Array `(units, height, width)`, or `(units, height, width, 1)`; at least 4 x 4 pixels, finite.
        threshold: Float in (0, 1). The `explained` from which a unit counts as well fitted. 0.8 is a choice of this
            package, not a published one.

    Returns:
        Dictionary of arrays of shape `(units,)`: `explained` (below 0 if a constant fits better); `bandpass`, boolean;
        `well_fitted`, whether both conditions hold; and the arguments of `gabor`, with `orientation` in [0, pi), `phase` in
        [-pi, pi] and `amplitude` of at least 0. For a constant feature, `explained` is 0 and the arguments are NaN.

    Raises:
        ImportError: SciPy, which comes with scikit-learn, is not installed.

    Example:

    >>> edge = gabor((8, 8), x=3.5, y=4, orientation=0.5, wavelength=6, phase=1.5, width=1.5, length=2)
    >>> fit = gabor_fit([edge, np.ones((8, 8))])
    >>> print(fit["explained"].round(3), fit["well_fitted"].mean())
    [1. 0.] 0.5

    Reference:
        Ringach, "Spatial structure and symmetry of simple-cell receptive fields in macaque primary visual cortex", 2002.
    """
    features = np.asarray(features, "float64")
    if features.ndim == 4 and features.shape[-1] == 1:
        features = features[..., 0]
    if features.ndim != 3 or len(features) == 0 or min(features.shape[1:]) < 4:
        raise ValueError(
            "`features` holds one grey picture per unit, (units, height, width): at least one, of at least 4 x 4 pixels. "
            f"Received: features of shape {features.shape}. Fit colour channels one by one."
        )
    if not np.isfinite(features).all():
        raise ValueError(f"`features` must be finite. Received: {np.sum(~np.isfinite(features))} entries that are not finite.")
    check_number("threshold", threshold, "is a share of the variance", above=0, below=1)
    rows = [_fit(feature) for feature in features]
    fits = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {**fits, "well_fitted": (fits["explained"] >= threshold) & fits["bandpass"]}


def _fit(feature):
    try:
        from scipy.optimize import least_squares
    except ImportError as error:
        raise ImportError('The fit needs SciPy, which comes with scikit-learn: pip install "keras_sae[evaluation]".') from error

    names = ("x", "y", "orientation", "wavelength", "phase", "width", "length", "amplitude")
    spread = np.sqrt(((feature - feature.mean()) ** 2).sum())
    if spread <= 1e-9 * np.abs(feature).max():
        return {"explained": 0.0, "bandpass": False, **dict.fromkeys(names, np.nan)}
    target = feature.ravel() / spread
    height, width = feature.shape
    size = max(height, width)
    lowest = np.array([-0.5, -0.5, -np.inf, 1 / (2 * size), _NARROWEST, _NARROWEST])
    highest = np.array([width - 0.5, height - 0.5, np.inf, _HIGHEST_FREQUENCY, size, size])

    def residual(shape_of_wave):
        waves = _waves(feature.shape, *shape_of_wave)
        return _weights(waves, target) @ waves - target

    solutions = [
        least_squares(residual, np.clip(start, lowest + 1e-3, highest - 1e-3), bounds=(lowest, highest), max_nfev=100)
        for start in _starts(feature)
    ]
    best = min(solutions, key=lambda solution: solution.cost)
    x, y, orientation, frequency, across, along = best.x
    waves = _waves(feature.shape, *best.x)
    cosine, sine = spread * _weights(waves, target)
    fitted = cosine * waves[0] + sine * waves[1]
    turns = int(np.floor(orientation / np.pi))
    phase = np.arctan2(sine, cosine) * (-1) ** turns  # half a turn reverses the wave
    carrier = np.exp(2j * np.pi * frequency * _axes(feature.shape, x, y, orientation)[0].ravel())
    values = (x, y, orientation - turns * np.pi, 1 / frequency, phase, across, along, np.hypot(cosine, sine))
    return {
        "explained": 1 - 2 * best.cost,
        "bandpass": bool(abs(fitted.sum()) <= 0.5 * abs(fitted @ carrier)),
        **dict(zip(names, map(float, values), strict=True)),
    }


def _axes(shape, x, y, orientation):
    """Distances of pixels from the centre, across and along the stripes."""
    rows, columns = np.indices(shape)
    cosine, sine = np.cos(orientation), np.sin(orientation)
    return (columns - x) * cosine + (rows - y) * sine, (rows - y) * cosine - (columns - x) * sine


def _waves(shape, x, y, orientation, frequency, width, length):
    """The Gabor functions of phase 0 and pi / 2, (2, pixels). Those of other phases are weighted sums of them."""
    u, v = (axis.ravel() for axis in _axes(shape, x, y, orientation))
    envelope = np.exp(-(u**2) / (2 * width**2) - v**2 / (2 * length**2))
    angle = 2 * np.pi * frequency * u
    return envelope * np.stack([np.cos(angle), -np.sin(angle)])


def _weights(waves, target):
    # Without the ridge, a wave with one phase that is zero on all pixels would be singular.
    return np.linalg.solve(waves @ waves.T + 1e-9 * np.eye(2), waves @ target)


def _starts(feature):
    """Initial values: the centre of the feature's energy, and the waves of the two highest peaks of its spectrum."""
    energy = feature**2 / (feature**2).sum()
    rows, columns = np.indices(feature.shape)
    points = 4 * max(feature.shape)
    padded = np.pad(np.abs(np.fft.rfft2(feature, (points, points))), 1, mode="wrap")
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    spectrum = around[..., 1, 1]
    peaks = np.argwhere(spectrum == around.max(axis=(-2, -1)))
    peaks = sorted(peaks, key=lambda peak: -spectrum[tuple(peak)])[:2]
    for row, column in peaks:
        down, right = np.fft.fftfreq(points)[row], np.fft.rfftfreq(points)[column]
        for across, along in _FIRST_ENVELOPES:
            size = max(feature.shape)
            wave = (np.arctan2(down, right), np.hypot(down, right), across * size, along * size)
            yield ((energy * columns).sum(), (energy * rows).sum(), *wave)
