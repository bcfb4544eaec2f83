import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number


@keras.saving.register_keras_serializable(package="keras_sae")
class Deskew(KnownArguments, keras.layers.Layer):
    """Shears an image so that its strokes stand upright. For handwritten digits and letters.

        slope = sum (x - x0) (y - y0) I[y, x] / sum (y - y0)^2 I[y, x]        (y0, x0): the centre of mass of I
        outputs[y, x] = I[y, x + slope * (y - y0)]

    Each row moves sideways, by linear interpolation, until rows and columns of the image are uncorrelated. What moves out of
    the image is lost, what moves in is 0. How far writing leans says more about the hand than about the letter.

    Args:
        limit: Float above 0. Slopes beyond `-limit` and `limit` are clipped: a lone horizontal stroke has no reliable slope.

    Input shape:
        `(batch, height, width, channels)`, at least 0 and bright on a background of 0. Sizes may be unknown. The channels
        share one slope, that of their sum. An image of zeros has the slope 0.

    Output shape:
        The same. It is computed in float32 whatever the compute dtype.

    Example:

    >>> image = np.eye(3, dtype="float32").reshape(1, 3, 3, 1)      # a diagonal stroke
    >>> print(keras.ops.convert_to_numpy(Deskew()(image))[0, :, :, 0])
    [[0. 1. 0.]
     [0. 1. 0.]
     [0. 1. 0.]]

    Reference:
        LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, who deskew MNIST.
    """

    def __init__(self, limit=2.0, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.limit = check_number("limit", limit, "is the largest slope", above=0)

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(
                f"{type(self).__name__} reads images `(batch, height, width, channels)`. "
                f"Received: input_shape={tuple(input_shape)}. Give grayscale images a channel: (28, 28, 1)."
            )

    def call(self, inputs):
        images = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        rows, columns = (ops.cast(ops.arange(ops.shape(images)[axis]), images.dtype) for axis in (1, 2))
        mass = ops.sum(images, axis=-1)  # (batch, height, width)
        total = ops.maximum(ops.sum(mass, axis=(1, 2), keepdims=True), keras.config.epsilon())
        y = rows[None, :, None] - ops.sum(mass * rows[None, :, None], axis=(1, 2), keepdims=True) / total
        x = columns[None, None] - ops.sum(mass * columns[None, None], axis=(1, 2), keepdims=True) / total
        spread = ops.maximum(ops.sum(mass * y * y, axis=(1, 2), keepdims=True), keras.config.epsilon())
        slope = ops.clip(ops.sum(mass * x * y, axis=(1, 2), keepdims=True) / spread, -self.limit, self.limit)
        source = columns[None, None] + slope * y  # where each pixel comes from: (batch, height, width)
        shares = ops.relu(1 - ops.abs(source[..., None] - columns))  # (batch, height, width, width): linear interpolation
        return ops.cast(ops.matmul(shares, images), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "limit": self.limit}
