import dataclasses
import math
from collections.abc import Callable

import keras

from keras_sae.layers import TiedConvTranspose
from keras_sae.models._centered import add_mean, subtract_mean
from keras_sae.models._code import append_selections
from keras_sae.models._level import apply_constraints, copy_of
from keras_sae.models._preprocessing import preprocess, shape_to_encode

_POOLING = {"max": "MaxPooling", "average": "AveragePooling"}


@dataclasses.dataclass(frozen=True)
class ConvGraph:
    """Makes an encoder of convolutional levels, and a decoder to the size of its input, as functional models.

    Attributes:
        input_shape: Tuple `(*sizes, channels)`.
        levels: Tuple of levels, from the input to the code.
        pooling, upsampling, decoder_kernel_size, tied, unit_norm: As in `ConvolutionalAutoencoder`.
        output_activation: Activation of the reconstruction.
        initializer: Initializer of the kernels. Every kernel gets a copy.
        dtype: Dtype policy of the layers.
        center: Whether the encoder subtracts the mean of each channel, and the decoder adds it.
        preprocessing: Layers that the encoder begins with.
    """

    input_shape: tuple
    levels: tuple
    pooling: str | None
    upsampling: str
    decoder_kernel_size: int | None
    tied: bool
    unit_norm: bool
    output_activation: Callable
    initializer: Callable
    dtype: object
    center: bool
    preprocessing: object

    def pair(self):
        """`(encoder, decoder)`."""
        encoder = self._encoder()
        decoder = self._decoder(encoder)
        apply_constraints(encoder, decoder)
        return encoder, decoder

    @property
    def rank(self):
        """The number of spatial axes."""
        return len(self.input_shape) - 1

    def _encoder(self):
        inputs = keras.Input(self.input_shape, name="inputs")
        code = preprocess(inputs, self.preprocessing, self.dtype)
        if self.center:
            code = subtract_mean(code, "channel", self.dtype)
        for level in self.levels:
            pools = self.pooling is not None and level.strides > 1
            code = self._convolution(
                "Conv{}D",
                level.units,
                level.kernel_size,
                strides=1 if pools else level.strides,
                activation=level.activation,
                kernel_constraint=self._norm_of_units(self.rank + 1) if self.tied else None,
                name=level.layer_name("encode"),
            )(code)
            if pools:
                options = {"padding": "same", "data_format": "channels_last", "name": level.layer_name("pool")}
                code = self._layer(_POOLING[self.pooling] + "{}D", level.strides, **options)(code)
            code = append_selections(code, level.selections, level.code)
        return keras.Model(inputs, code, name="encoder")

    def _decoder(self, encoder):
        codes = outputs = keras.Input(encoder.outputs[0].shape[1:], name="codes", dtype=encoder.outputs[0].dtype)
        if self.decoder_kernel_size:
            strides = math.prod(level.strides for level in self.levels)
            level = dataclasses.replace(self.levels[-1], kernel_size=self.decoder_kernel_size, strides=strides)
            outputs = self._decode(encoder, outputs, level, None)
        else:
            for level, below in zip(reversed(self.levels), [*reversed(self.levels[:-1]), None], strict=True):
                outputs = self._decode(encoder, outputs, level, below)
        outputs = add_mean(encoder, outputs, self.output_activation, self.dtype)
        return keras.Model(codes, outputs, name="decoder")

    def _decode(self, encoder, outputs, level, below):
        """Decodes a level to the one below, or to the input where that is None."""
        activation = self.output_activation if below is None else below.activation
        *sizes, channels = shape_to_encode(encoder) if below is None else encoder.get_layer(below.code).output.shape[1:]
        options = {"activation": activation, "name": level.layer_name("decode")}
        if self.tied:
            size = None if None in sizes else tuple(sizes)
            encode = encoder.get_layer(level.layer_name("encode"))
            return TiedConvTranspose(encode, size, dtype=self.dtype, **options)(outputs)
        if self.upsampling == "nearest":
            if level.strides > 1:
                name = level.layer_name("upsample")
                outputs = self._layer("UpSampling{}D", level.strides, **self._channels_last(), name=name)(outputs)
                outputs = self._crop(outputs, sizes, level)
            options["kernel_constraint"] = self._norm_of_units(self.rank)
            return self._convolution("Conv{}D", channels, level.kernel_size, **options)(outputs)
        options |= {"strides": level.strides, "kernel_constraint": self._norm_of_units(self.rank + 1)}
        outputs = self._convolution("Conv{}DTranspose", channels, level.kernel_size, **options)(outputs)
        return self._crop(outputs, sizes, level)

    def _crop(self, outputs, sizes, level):
        """Crops what strides rounded up."""
        excess = [0 if size is None else have - size for have, size in zip(outputs.shape[1:-1], sizes, strict=True)]
        if not any(excess):
            return outputs
        cropping = [(0, more) for more in excess]
        cropping = cropping[0] if self.rank == 1 else cropping
        return self._layer("Cropping{}D", cropping, **self._channels_last(), name=level.layer_name("crop"))(outputs)

    def _layer(self, kind, *args, **kwargs):
        return getattr(keras.layers, kind.format(self.rank))(*args, dtype=self.dtype, **kwargs)

    def _convolution(self, kind, filters, kernel_size, **kwargs):
        kernel = {"kernel_initializer": copy_of(self.initializer), "padding": "same", "data_format": "channels_last"}
        return self._layer(kind, filters, kernel_size, **kernel, **kwargs)

    def _channels_last(self):
        # Cropping and upsampling of one spatial axis take no such argument.
        return {} if self.rank == 1 else {"data_format": "channels_last"}

    def _norm_of_units(self, unit_axis):
        """The constraint on a kernel that gives the entries of each unit, an index of that axis, norm 1 together."""
        axes = [axis for axis in range(self.rank + 2) if axis != unit_axis]
        return keras.constraints.UnitNorm(axis=axes) if self.unit_norm else None
