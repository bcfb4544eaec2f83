import keras
from keras import ops

from keras_sae._checks import check_number
from keras_sae.layers._deskew import Deskew

# A variance of ink below this, in square pixels, counts as this: a dot or a line one pixel wide says nothing about size.
_LEAST = 0.3


@keras.saving.register_keras_serializable(package="keras_sae")
class MomentNormalization(Deskew):
    """Centres an image, shears its strokes upright, and evens out its height and width. For handwritten digits and letters.

        sy = deviation of y,   slope = covariance of x and y / sy^2,   sx = deviation of x - slope * y
        zy, zx = clip((sy / spread[0])^share), clip((sx / spread[1])^share)             between 1 / zoom and zoom
        y = y0 + zy * (row - centre)
        x = x0 + zx * (column - centre) + slope * (y - y0)
        outputs[row, column] = I[y, x]                                                 by linear interpolation

    All deviations are of the ink: a pixel counts as much as it is bright. `(y0, x0)` is its centre of mass, and `centre` the
    middle of the image. How large, how wide and how slanted people write says little about the letter. `Deskew` only shears.

    Args:
        spread: Pair of floats above 0, the deviations of rows and columns that images are brought closer to, in pixels. Those
            of a filled box are 0.29 times its height and width.
        share: Float in [0, 1]. 0 keeps sizes, 1 gives all images the same, and 0.5 halves differences on a logarithmic scale.
            Keep some of the difference: the width tells a one from a zero.
        zoom: Float, at least 1. The largest factor by which an image grows or shrinks.
        limit: Float above 0. Slopes beyond `-limit` and `limit` are clipped.

    Input shape:
        `(batch, height, width, channels)`, at least 0 and bright on a background of 0. Sizes may be unknown. The channels move
        together. An image of zeros stays.

    Output shape:
        The same. What moves out of the image is lost, what moves in is 0. It is computed in float32 whatever the compute dtype.

    Example:

    >>> image = np.zeros((1, 5, 5, 1), "float32")
    >>> image[0, 0, 1:4, 0] = 1                                       # a short stroke at the top
    >>> layer = MomentNormalization()
    >>> print(keras.ops.convert_to_numpy(layer(image))[0, 2, :, 0].round(2))
    [0.52 1.   1.   1.   0.52]

    References:
        Casey, "Moment Normalization of Handprinted Characters", 1970. Liu, Nakashima, Sako and Fujisawa, "Handwritten Digit
        Recognition: Investigation of Normalization and Feature Extraction Techniques", Pattern Recognition 37, 2004.
    """

    def __init__(self, spread=(5.0, 4.0), share=0.5, zoom=1.35, limit=2.0, **kwargs):
        super().__init__(limit, **kwargs)
        if not isinstance(spread, (list, tuple)) or len(spread) != 2:
            raise ValueError(f"`spread` is a pair of floats, for rows and columns, in pixels. Received: spread={spread!r}.")
        self.spread = tuple(check_number("spread", each, "has deviations in pixels", above=0) for each in spread)
        self.share = check_number("share", share, "is the share of a difference in size that is removed", at_least=0, at_most=1)
        self.zoom = check_number("zoom", zoom, "is the largest factor of sizes", at_least=1)

    def call(self, inputs):
        images = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        rows, columns = (ops.cast(ops.arange(ops.shape(images)[axis]), images.dtype) for axis in (1, 2))
        ink = ops.sum(images, axis=-1)  # (batch, height, width)
        ink = ink / ops.maximum(ops.sum(ink, axis=(1, 2), keepdims=True), keras.config.epsilon())

        def mean(values):
            return ops.sum(ink * values, axis=(1, 2), keepdims=True)  # (batch, 1, 1)

        y0, x0 = mean(rows[:, None]), mean(columns)
        dy, dx = rows[:, None] - y0, columns - x0
        yy, xx, xy = mean(dy * dy), mean(dx * dx), mean(dx * dy)
        slope = ops.clip(xy / ops.maximum(yy, keras.config.epsilon()), -self.limit, self.limit)
        y = y0[:, :, 0] + self._zoom(yy, self.spread[0])[:, :, 0] * (rows - (rows[-1] / 2))  # (batch, height)
        x = x0 + self._zoom(xx - 2 * slope * xy + slope * slope * yy, self.spread[1]) * (columns - columns[-1] / 2)
        x = x + slope * (y[:, :, None] - y0)  # (batch, height, width)
        of_rows = ops.relu(1 - ops.abs(y[:, :, None] - rows))  # (batch, height, height): shares of linear interpolation
        of_columns = ops.relu(1 - ops.abs(x[..., None] - columns))  # (batch, height, width, width)
        moved = ops.einsum("brh,bhwc->brwc", of_rows, images)
        return ops.cast(ops.matmul(of_columns, moved), self.compute_dtype)

    def _zoom(self, variance, deviation):
        zoom = ops.power(ops.sqrt(ops.maximum(variance, _LEAST)) / deviation, self.share)
        return ops.clip(zoom, 1 / self.zoom, self.zoom)

    def get_config(self):
        names = ("spread", "share", "zoom")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
