import numbers

import keras
from keras import ops

from keras_sae.layers._tied import TiedLayer


@keras.saving.register_keras_serializable(package="keras_sae")
class TiedConvTranspose(TiedLayer):
    """Decodes with the transpose of an encoding `Conv1D`, `Conv2D` or `Conv3D`.

        outputs = activation(transpose(convolution)(inputs) + bias)
        sum(convolution(x) * inputs) == sum(x * transpose(convolution)(inputs))        for every x of the size of outputs

    where `convolution` is the linear part of `tied_to`. The transpose is exact for all strides, padding, dilation, groups and
    `output_size`. A position that no window reads is decoded to `activation(bias)`.

    One kernel serves both directions. Its gradient is the sum of the two, and only the bias, one number per channel of the
    encoder's input, is new. On a CPU, TensorFlow transposes dilated convolutions only with oneDNN, in float32.

    Args:
        tied_to: A built `keras.layers.Conv1D`, `Conv2D` or `Conv3D`.
        output_size: Positive integer, or a tuple of one per spatial axis. The size of the encoder's input. Inputs of several
            sizes give codes of the same size, so give it where it is not the default. The default is the largest size,
            `size * stride`, for `"same"` and `"causal"` padding. For `"valid"` it is the smallest, which the windows just
            cover: `(size - 1) * stride + (kernel_size - 1) * dilation_rate + 1`.
        activation: Activation name or function, none by default.
        use_bias: Whether to add a bias.
        bias_initializer: Initializer of the bias.

    Input shape:
        `(batch, *size, filters)`, the output of `tied_to`, or `(batch, filters, *size)` where it is channels-first. Sizes may
        be unknown.

    Output shape:
        `(batch, *output_size, channels)`, the input of `tied_to`, or `(batch, channels, *output_size)`.

    Example:

    >>> encode = keras.layers.Conv2D(8, 3, strides=2, padding="same")
    >>> encode.build((None, 7, 7, 1))
    >>> codes = np.ones((5, 4, 4, 8), "float32")
    >>> TiedConvTranspose(encode)(codes).shape == (5, 8, 8, 1)
    True
    >>> TiedConvTranspose(encode, output_size=7)(codes).shape == (5, 7, 7, 1)
    True
    """

    def __init__(self, tied_to, output_size=None, activation=None, use_bias=True, bias_initializer="zeros", **kwargs):
        super().__init__(tied_to, activation, use_bias, bias_initializer, **kwargs)
        if not isinstance(tied_to, (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)):
            raise TypeError(
                "`tied_to` must be the encoding convolution whose kernel is shared: a keras.layers.Conv1D, Conv2D or Conv3D. "
                f"Received: tied_to={tied_to!r} of type {type(tied_to).__name__}. For a Dense, use a TiedDense."
            )
        self.output_size = _per_axis(output_size, tied_to.rank)

    def build(self, input_shape):
        encode = self.tied_to
        if not encode.built:
            raise ValueError(
                "`tied_to` must be built, because a TiedConvTranspose reads its kernel. "
                f"Received: tied_to={encode.name!r} of type {type(encode).__name__}, built=False. "
                "Call the encoding layer, or its `build`, first."
            )
        channel_axis, spatial_axes = self._axes()
        if len(input_shape) != encode.rank + 2 or input_shape[channel_axis] != encode.filters:
            raise ValueError(
                "A TiedConvTranspose reads codes of the shape that its encoding layer gives. "
                f"Received: input_shape={tuple(input_shape)}, and {encode.name!r} is a {type(encode).__name__} of "
                f"{encode.filters} filters, which are axis {channel_axis} of {encode.rank + 2}."
            )
        expected = {channel_axis: encode.filters}
        if self.output_size is not None:
            code_size = tuple(
                (size - tail) // stride + 1 for size, (_, stride, tail) in zip(self.output_size, self._windows(), strict=True)
            )
            expected.update(zip(spatial_axes, code_size, strict=True))
            if any(expected[axis] < 1 or input_shape[axis] not in (None, expected[axis]) for axis in spatial_axes):
                raise ValueError(
                    "`output_size` is the size of the encoder's input, and must give a code of the size that is decoded. "
                    f"Received: output_size={self.output_size}, which {encode.name!r} encodes to size {code_size}, "
                    f"and input_shape={tuple(input_shape)}. Give the size of the input that was encoded."
                )
        # Codes of another size in a later call would be decoded to a wrong size.
        self.input_spec = keras.layers.InputSpec(ndim=encode.rank + 2, axes=expected)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self._channels(),), initializer=self.bias_initializer)

    def call(self, inputs):
        # On a CPU, TensorFlow has the transpose for channels-last only.
        channels_first = self.tied_to.data_format == "channels_first"
        outputs = self._transpose(ops.moveaxis(inputs, 1, -1) if channels_first else inputs)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(ops.moveaxis(outputs, -1, 1) if channels_first else outputs)

    def _transpose(self, codes):
        encode = self.tied_to
        groups = zip(ops.split(codes, encode.groups, -1), ops.split(self.shared_kernel(), encode.groups, -1), strict=True)
        options = {"strides": encode.strides, "dilation_rate": encode.dilation_rate, "data_format": "channels_last"}
        outputs = ops.concatenate([ops.conv_transpose(*group, padding="valid", **options) for group in groups], axis=-1)
        # So far every window is whole. Crop the padding that the encoder added, and append positions that it did not read.
        crops, pads = [slice(None)], [(0, 0)]
        for span, stride, tail in self._windows():
            left = {"valid": 0, "same": max(span - tail, 0) // 2, "causal": span - 1}[encode.padding]
            right = max(span, stride) - left - tail  # Keras gives the last window a whole stride
            crops.append(slice(left, -right if right > 0 else None))
            pads.append((0, max(-right, 0)))
        outputs = outputs[tuple(crops)]
        return ops.pad(outputs, [*pads, (0, 0)]) if any(right for _, right in pads) else outputs

    def compute_output_shape(self, input_shape):
        channel_axis, spatial_axes = self._axes()
        output_shape = list(input_shape)
        output_shape[channel_axis] = self._channels()
        for axis, (_, stride, tail) in zip(spatial_axes, self._windows(), strict=True):
            if input_shape[axis] is not None:
                output_shape[axis] = (input_shape[axis] - 1) * stride + tail
            elif self.output_size is not None:
                output_shape[axis] = self.output_size[axis - spatial_axes[0]]
        return tuple(output_shape)

    def get_config(self):
        return {**super().get_config(), "output_size": self.output_size}

    def _axes(self):
        """The axis of the channels, and the range of the spatial axes."""
        rank = self.tied_to.rank
        return (1, range(2, rank + 2)) if self.tied_to.data_format == "channels_first" else (rank + 1, range(1, rank + 1))

    def _channels(self):
        return self.tied_to.kernel.shape[-2] * self.tied_to.groups

    def _windows(self):
        """`(span, stride, tail)` along each spatial axis.

        A window covers `span` positions. A code of `size` is decoded to `(size - 1) * stride + tail` positions.
        """
        encode = self.tied_to
        sizes = self.output_size or (None,) * encode.rank
        for size, kernel, dilation, stride in zip(sizes, encode.kernel_size, encode.dilation_rate, encode.strides, strict=True):
            span = (kernel - 1) * dilation + 1
            shortest, default = (span, span) if encode.padding == "valid" else (1, stride)
            yield span, stride, default if size is None else shortest + (size - shortest) % stride


def _per_axis(output_size, rank):
    """`output_size` as a tuple of one integer per spatial axis, or None."""
    if output_size is None:
        return None
    sizes = (output_size,) * rank if isinstance(output_size, numbers.Integral) else output_size
    if (
        not isinstance(sizes, (tuple, list))
        or len(sizes) != rank
        or not all(isinstance(size, numbers.Integral) and size > 0 for size in sizes)
    ):
        raise ValueError(
            "`output_size` is the size of the encoder's input: a positive integer, or one for each spatial axis. "
            f"Received: output_size={output_size!r}. Give an integer or a tuple of {rank}."
        )
    return tuple(map(int, sizes))
