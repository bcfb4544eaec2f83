import math

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer

_SMALL = 1e-8


@keras.saving.register_keras_serializable(package="keras_sae")
class OrientedGradients(KnownArguments, keras.layers.Layer):
    """Splits the edges of an image into maps by the direction in which it gets brighter. A fixed first level, without weights.

        dy, dx = half the difference of the two neighbours below and above, right and left
        outputs[..., j] = max(0, dx cos(a_j) + dy sin(a_j))^2 / sqrt(dx^2 + dy^2)        a_j = 2 pi j / directions

    This is the size of the gradient, times the squared cosine of its angle to the direction `j`. Beyond the border, the image
    goes on with its outermost pixels. Pool the maps by `keras.layers.AveragePooling2D` before a dictionary of patches reads
    them: its patches then tolerate small shifts of strokes.

    Args:
        directions: Integer, at least 3. From 4 directions on, the outputs of a pixel add up to `directions / 4` times the size
            of its gradient.

    Input shape:
        `(batch, height, width, channels)`. Sizes may be unknown.

    Output shape:
        `(batch, height, width, channels * directions)`: all directions of the first channel, then those of the next. It is
        computed in float32 whatever the compute dtype.

    Example:

    >>> ramp = np.arange(5.0).reshape(1, 1, 5, 1)      # brighter to the right, by 1 a pixel
    >>> print(keras.ops.convert_to_numpy(OrientedGradients(4)(ramp))[0, 0, 2].round(3))
    [1. 0. 0. 0.]

    References:
        Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004. Mairal, Koniusz, Harchaoui and Schmid,
        "Convolutional Kernel Networks", NIPS 2014, who learn from such maps.
    """

    def __init__(self, directions=8, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.directions = check_integer("directions", directions, "is the number of directions of edges", at_least=3)

    def build(self, input_shape):
        if len(input_shape) != 4 or input_shape[-1] is None:
            raise ValueError(
                "OrientedGradients reads images `(batch, height, width, channels)`. "
                f"Received: input_shape={tuple(input_shape)}. Give grayscale images a channel: (28, 28, 1)."
            )

    def call(self, inputs):
        images = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        padded = ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
        dx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
        dy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
        size = ops.sqrt(dx * dx + dy * dy + _SMALL)
        maps = []
        for index in range(self.directions):
            angle = 2 * math.pi * index / self.directions
            maps.append(ops.square(ops.relu(dx * math.cos(angle) + dy * math.sin(angle))) / size)
        maps = ops.stack(maps, axis=-1)  # (batch, height, width, channels, directions)
        maps = ops.reshape(maps, (-1, *ops.shape(maps)[1:3], inputs.shape[-1] * self.directions))
        return ops.cast(maps, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] * self.directions)

    def get_config(self):
        return {**super().get_config(), "directions": self.directions}
