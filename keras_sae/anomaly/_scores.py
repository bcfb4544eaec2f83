"""The scores: how anomalous a sample is. Written in keras.ops, so that they run and export on every backend."""

import numpy as np
from keras import ops

from keras_sae.anomaly._statistics import gaussian_of

_SMALLEST = 1e-6  # root mean square of an input that errors are divided by
DIRECTIONS = 128  # of the code, each with a variance of its own
WINDOWS = (3, 5)  # about each position, for the score of textures
_LEAST_VARIANCE = 1e-4  # of a window, for the logarithm: a deviation of 0.01


def squared_errors(inputs, reconstruction):
    """Squared errors at each position, `(batch, *positions)`: means over channels. The columns of a table are its positions."""
    errors = ops.square(ops.cast(inputs, "float32") - ops.cast(reconstruction, "float32"))
    return errors if len(errors.shape) == 2 else ops.mean(errors, axis=-1)


def size_of(inputs):
    """The root mean square of the entries of each input, `(batch,)`."""
    squares = ops.square(ops.cast(inputs, "float32"))
    return ops.sqrt(over_positions(ops.mean, squares))


def smooth(errors, window):
    """Means over a window about each position, `(batch, *positions)`."""
    if window == 1:
        return errors
    around = (window - 1) // 2, window // 2
    # Reflected here, because "same" padding of an average differs between backends.
    padded = ops.pad(errors, [(0, 0), *[around] * (len(errors.shape) - 1)], mode="reflect")
    pooled = ops.average_pool(padded[..., None], window, strides=1, padding="valid", data_format="channels_last")
    return pooled[..., 0]


def local_statistics(inputs):
    """Means and log deviations of channels over windows about each position, `(batch, *positions, 4 * channels)`."""
    inputs, statistics = ops.cast(inputs, "float32"), []
    for window in WINDOWS:
        around = window // 2
        padded = ops.pad(inputs, [(0, 0), *[(around, around)] * (len(inputs.shape) - 2), (0, 0)], mode="reflect")
        mean, square = (
            ops.average_pool(each, window, strides=1, padding="valid", data_format="channels_last")
            for each in (padded, ops.square(padded))
        )
        variance = ops.maximum(square - ops.square(mean), 0.0)
        statistics += [mean, 0.5 * ops.log(variance + _LEAST_VARIANCE)]
    return ops.concatenate(statistics, axis=-1)


def local_activity(code):
    """Root mean squares of each unit over a window of three positions each way, `(batch, *positions, units)`."""
    padded = ops.pad(ops.square(ops.cast(code, "float32")), [(0, 0), *[(1, 1)] * (len(code.shape) - 2), (0, 0)], mode="reflect")
    return ops.sqrt(ops.average_pool(padded, 3, strides=1, padding="valid", data_format="channels_last") + _SMALLEST**2)


def over_positions(reduce, values):
    """Applies `ops.mean` or `ops.max` over all axes but the first."""
    axes = tuple(range(1, len(values.shape)))
    return reduce(values, axis=axes) if axes else values


class Score:
    """A score of samples, the base class.

    Args:
        window: Integer, the side of the patch over which errors are averaged.
        arrays: Dictionary of what `learn` learned, from a saved detector.

    Attributes:
        name: The word for it in `AnomalyDetector(score=)`.
        reads_errors, reads_code: Whether it reads reconstruction errors, and the code.
        reads_surroundings: Whether it reads inputs, whose positions must have neighbours on both sides.
        learns: Whether it learns statistics from normal data.
    """

    name = None
    reads_errors, reads_code, reads_surroundings, learns = True, False, False, False

    def __init__(self, window, arrays=None):
        self.window = window
        self.arrays = dict(arrays or {})

    def learn(self, normal):
        """Learns from `NormalStatistics`."""

    def __call__(self, errors, code, size, inputs):
        """Scores of shape `(batch,)`.

        Args:
            errors: Squared errors at positions, `(batch, *positions)`.
            code: `(batch, ..., units)`.
            size: The root mean square of each input, `(batch,)`.
            inputs: What the reconstruction is compared with, `(batch, ...)`.

        What the score does not read may be None.
        """
        raise NotImplementedError

    def maps(self, errors, code, inputs):
        """Where samples are anomalous, `(batch, *positions)` of the input."""
        return smooth(errors, self.window)


class Reconstruction(Score):
    name = "reconstruction"

    def __call__(self, errors, code, size, inputs):
        return over_positions(ops.mean, errors)


class Relative(Score):
    name = "relative"

    def __call__(self, errors, code, size, inputs):
        return over_positions(ops.mean, errors) / ops.maximum(size, _SMALLEST)


class Patch(Score):
    name = "patch"

    def __call__(self, errors, code, size, inputs):
        return over_positions(ops.max, smooth(errors, self.window))


class Code(Score):
    name = "code"
    reads_errors, reads_code, learns = False, True, True

    def learn(self, normal):
        self.arrays.update(gaussian_of(normal.codes, DIRECTIONS))

    def __call__(self, errors, code, size, inputs):
        return over_positions(ops.mean, self.distances(code))

    def distances(self, vectors):
        """Squared Mahalanobis distances divided by the number of units, about 1 for normal data; `(batch, *positions)`."""
        learned = {name: ops.convert_to_tensor(array) for name, array in self.arrays.items()}
        centred = ops.cast(vectors, "float32") - learned["mean"]
        along = ops.square(ops.matmul(centred, learned["directions"]))
        rest = ops.maximum(ops.sum(ops.square(centred), axis=-1) - ops.sum(along, axis=-1), 0.0)
        distances = ops.sum(along * learned["precision"], axis=-1) + rest * learned["rest_precision"]
        return distances / float(centred.shape[-1])


class Texture(Code):
    name = "texture"
    reads_errors, reads_code, reads_surroundings = True, False, True

    def learn(self, normal):
        spread = normal.surroundings.std(axis=0)
        spread = np.where(spread > 0, spread, 1).astype("float32")
        self.arrays.update(gaussian_of(normal.surroundings / spread, DIRECTIONS), spread=spread)

    def __call__(self, errors, code, size, inputs):
        return over_positions(ops.max, self.maps(errors, code, inputs))

    def maps(self, errors, code, inputs):
        return smooth(self.distances(local_statistics(inputs) / ops.convert_to_tensor(self.arrays["spread"])), self.window)


class Activity(Code):
    """The score "texture" of detectors that were saved before it read inputs."""

    name = "texture"

    def __call__(self, errors, code, size, inputs):
        return over_positions(ops.max, self.distances(local_activity(code)))

    def maps(self, errors, code, inputs):
        distances = self.distances(local_activity(code))
        for axis, size in enumerate(errors.shape[1:], start=1):
            repeats = -(-size // distances.shape[axis])  # strides round up
            distances = ops.take(ops.repeat(distances, repeats, axis=axis), range(size), axis=axis)
        return distances


class Combined(Code):
    name = "combined"
    reads_errors = True

    def learn(self, normal):
        super().learn(normal)
        self.arrays["error"] = np.float32(max(normal.mean_error, np.finfo("float32").tiny))

    def __call__(self, errors, code, size, inputs):
        return super().__call__(None, code, None, None) + over_positions(ops.mean, errors) / float(self.arrays["error"])


SCORES = {score.name: score for score in (Reconstruction, Relative, Patch, Code, Combined, Texture)}


def saved_score(name, window, arrays):
    """The score of a saved detector."""
    old = name == Activity.name and "spread" not in arrays
    return (Activity if old else SCORES[name])(window, arrays)
