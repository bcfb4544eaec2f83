import itertools

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer


@keras.saving.register_keras_serializable(package="keras_sae")
class Patches(KnownArguments, keras.layers.Layer):
    """Cuts an image into overlapping patches, each of them flattened. For the `preprocessing` of a convolutional autoencoder.

        outputs[i, r, c] = flatten(inputs[i, r * strides : r * strides + size, c * strides : c * strides + size, :])

    Layers that follow, such as `ContrastNormalization` and `ZCAWhitening`, treat each patch as a vector. Only patches that lie
    inside of the image are cut. An image of the size of a patch gives one patch, so a model for patches reads images too.

    Args:
        size: Integer, at least 1. Height and width of a patch.
        strides: Integer, at least 1. Distance between neighbouring patches.

    Input shape:
        `(batch, *sizes, channels)` with one, two or three spatial axes, channels last. Sizes may be unknown.

    Output shape:
        `(batch, *positions, size ** axes * channels)`, where `positions = (sizes - size) // strides + 1`.

    Example:

    >>> image = np.arange(6.0).reshape(1, 2, 3, 1)
    >>> print(keras.ops.convert_to_numpy(Patches(2)(image))[0, 0])
    [[0. 1. 3. 4.]
     [1. 2. 4. 5.]]
    """

    def __init__(self, size, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.size = check_integer("size", size, "is the height and width of a patch")
        self.strides = check_integer("strides", strides, "is the distance between neighbouring patches")

    def build(self, input_shape):
        self._check(input_shape)
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={-1: input_shape[-1]})

    def _check(self, input_shape):
        sizes = tuple(input_shape[1:-1])
        fits = all(size is None or size >= self.size for size in sizes)
        if not 1 <= len(sizes) <= 3 or input_shape[-1] is None or not fits:
            raise ValueError(
                "Patches are cut from images `(batch, *sizes, channels)` with one, two or three spatial axes that are not "
                f"smaller than a patch. Received: input_shape={tuple(input_shape)} with size={self.size}."
            )

    def call(self, inputs):
        self._check(inputs.shape)  # models for images of any size meet the size here
        last = self.size - 1
        # A step for each place in a patch: exact in every precision, for sizes known or not.
        along = [slice(first, first - last or None, self.strides) for first in range(self.size)]
        places = itertools.product(along, repeat=len(inputs.shape) - 2)
        return ops.concatenate([inputs[(slice(None), *place)] for place in places], axis=-1)

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        positions = [None if size is None else (size - self.size) // self.strides + 1 for size in sizes]
        return (batch, *positions, self.size ** len(sizes) * channels)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "strides": self.strides}
