"""Encodings: what makes features for a classifier of the responses of units. None of them has weights."""

import math

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer, check_number
from keras_sae.layers._top_k import keep, largest_of_rows, rows_across, with_nan_of
from keras_sae.ops import without_nan

_ROUNDING = 1e-6


class _Encoding(KnownArguments, keras.layers.Layer):
    """Base class of encodings, which give each unit one feature."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="keras_sae")
class BothSigns(_Encoding):
    """Splits each unit into two features, of its positive and of its negative responses.

        outputs = concatenate(relu(inputs - threshold), relu(-inputs - threshold))

    A linear classifier can then weight the two signs differently. With a threshold, small responses are 0 in both.

    Args:
        threshold: Float, at least 0. `BothSigns(t)` is `SoftThreshold(t)` followed by `BothSigns()`, in fewer steps.

    Input shape:
        `(batch, ..., units)`.

    Output shape:
        `(batch, ..., 2 * units)`: first the positive parts of all units, then the negative ones.

    Example:

    >>> print(keras.ops.convert_to_numpy(BothSigns()(np.array([[1.0, -2.0]]))))
    [[1. 0. 0. 2.]]

    Reference:
        Coates and Ng, "The Importance of Encoding Versus Training with Sparse Coding and Vector Quantization", ICML 2011.
    """

    def __init__(self, threshold=0.0, **kwargs):
        super().__init__(**kwargs)
        self.threshold = check_number("threshold", threshold, "is subtracted from the size of every response", at_least=0)

    def call(self, inputs):
        return ops.concatenate([ops.relu(inputs - self.threshold), ops.relu(-inputs - self.threshold)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sae")
class SoftThreshold(_Encoding):
    """Moves every response towards zero by `threshold`, and makes smaller ones zero.

        outputs = sign(inputs) * max(0, abs(inputs) - threshold)

    Follow it by `keras.layers.ReLU()` to keep positive responses only, or by `BothSigns()`.

    Args:
        threshold: Float, at least 0.

    Input shape:
        Any.

    Output shape:
        The same.

    Example:

    >>> print(keras.ops.convert_to_numpy(SoftThreshold(1.0)(np.array([[3.0, -1.5, 0.5]]))))
    [[ 2.  -0.5  0. ]]

    Reference:
        Coates and Ng, "The Importance of Encoding Versus Training with Sparse Coding and Vector Quantization", ICML 2011.
    """

    def __init__(self, threshold, **kwargs):
        super().__init__(**kwargs)
        self.threshold = check_number("threshold", threshold, "is subtracted from the size of every response", at_least=0)

    def call(self, inputs):
        return ops.relu(inputs - self.threshold) - ops.relu(-inputs - self.threshold)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sae")
class SoftKSparse(_Encoding):
    """Keeps the `k` largest responses of each position, minus the largest one that it drops.

        outputs = relu(inputs - next)        next: the (k + 1)-th largest response at that position

    A soft threshold that adapts to each input. What changes between two similar inputs changes little in the features, while
    a `KSparse` switches units on and off. Responses that equal the next one become 0.

    Args:
        k: Integer, at least 1 and below the number of units.
        select_by: `"value"` compares signed responses; `"magnitude"` their sizes, and keeps their signs.

    Input shape:
        `(batch, ..., units)`.

    Output shape:
        The same.

    Example:

    >>> code = np.array([[5.0, 3.0, 2.0, -4.0]])
    >>> print(keras.ops.convert_to_numpy(SoftKSparse(k=2)(code)))
    [[3. 1. 0. 0.]]
    >>> print(keras.ops.convert_to_numpy(SoftKSparse(k=2, select_by="magnitude")(code)))
    [[ 2.  0.  0. -1.]]
    """

    def __init__(self, k, select_by="value", **kwargs):
        super().__init__(**kwargs)
        self.k = check_integer("k", k, "counts the responses kept at each position")
        if select_by not in ("value", "magnitude"):
            raise ValueError(f'`select_by` must be "value" or "magnitude". Received: select_by={select_by!r}.')
        self.select_by = select_by

    def build(self, input_shape):
        if input_shape[-1] is None or self.k >= input_shape[-1]:
            raise ValueError(
                "`k` counts the responses kept at each position, and one more is subtracted from them: it must be below the "
                f"number of units, the last axis. Received: k={self.k}, input_shape={tuple(input_shape)}."
            )

    def call(self, inputs):
        scores = ops.stop_gradient(inputs)
        scores = without_nan(ops.abs(scores) if self.select_by == "magnitude" else scores)
        following = ops.min(ops.top_k(scores, self.k + 1, sorted=False)[0], axis=-1, keepdims=True)
        kept = ops.relu(inputs - following)
        return kept - ops.relu(-inputs - following) if self.select_by == "magnitude" else kept

    def get_config(self):
        return {**super().get_config(), "k": self.k, "select_by": self.select_by}


@keras.saving.register_keras_serializable(package="keras_sae")
class LargestShare(_Encoding):
    """Says of each unit whether its response is among the largest share at its position: 1 or 0.

    Of units that respond by `x @ c - ||c||^2 / 2`, these are the ones whose `c` is nearest to `x`. Exactly
    `round(share * units)` units get a 1, at least one; among equal responses the first win. It has no gradient.

    Args:
        share: Float in (0, 1].

    Input shape:
        `(batch, ..., units)`.

    Output shape:
        The same.

    Example:

    >>> print(keras.ops.convert_to_numpy(LargestShare(0.4)(np.array([[3.0, 1.0, 2.0, 2.0, -1.0]]))))
    [[1. 0. 1. 0. 0.]]

    Reference:
        Thiry, Arbel, Belilovsky and Oyallon, "The Unreasonable Effectiveness of Patches in Deep Convolutional Kernels
        Methods", ICLR 2021, who read the nearest 40 % of random patches.
    """

    def __init__(self, share=0.4, **kwargs):
        super().__init__(**kwargs)
        self.share = check_number("share", share, "is the share of the units that get a 1", above=0, at_most=1)

    def call(self, inputs):
        scores = without_nan(ops.stop_gradient(inputs))
        rows, places = rows_across(scores, "units")
        count = max(1, math.floor(self.share * rows.shape[-1] + 0.5 + _ROUNDING))
        _, indices, _ = largest_of_rows(rows, count)
        return with_nan_of(inputs, keep(ops.ones_like(scores), places(indices)))

    def get_config(self):
        return {**super().get_config(), "share": self.share}


@keras.saving.register_keras_serializable(package="keras_sae")
class Triangle(_Encoding):
    """Keeps what exceeds the mean response of a position: the "triangle" encoding of k-means.

        outputs = relu(inputs - mean over units of inputs)

    About half of the units are silent at each position. Of units that respond by `x @ c - ||c||^2 / 2`, the result is half of
    the triangle encoding of squared distances, `max(0, mean(d) - d)` with `d = ||x - c||^2`.

    Input shape:
        `(batch, ..., units)`.

    Output shape:
        The same.

    Example:

    >>> print(keras.ops.convert_to_numpy(Triangle()(np.array([[4.0, 1.0, 1.0]]))))
    [[2. 0. 0.]]

    Reference:
        Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011.
    """

    def call(self, inputs):
        return ops.relu(inputs - ops.mean(inputs, axis=-1, keepdims=True))
