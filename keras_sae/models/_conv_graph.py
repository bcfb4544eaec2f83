import math

import keras

from keras_sae.layers import TiedConvTranspose
from keras_sae.models._level import apply_constraints, copy_of
from keras_sae.models._sparse_autoencoder import append_selections

_POOLING = {"max": "MaxPooling", "average": "AveragePooling"}


def conv_pair(input_shape, levels, arguments, output_activation, kernel_initializer, dtype):
    """An encoder of convolutional levels, and a decoder to the size of the input.

    Args:
        input_shape: Tuple `(*sizes, channels)`.
        levels: List of dictionaries, from the input to the code: `name` of the convolution, `filters`, `kernel_size`,
            `strides`, `activation`, the `selections` after it, and the name of the `code` that they leave.
        arguments: Dictionary of `pooling`, `upsampling`, `decoder_kernel_size`, `tied`, `unit_norm`.
        output_activation: Activation of the reconstruction. Decoding to a level is activated as that level was.
        kernel_initializer: Initializer of the kernels.
        dtype: Dtype policy of the layers.

    Returns:
        `(encoder, decoder)`, functional models.
    """
    initializer, rank = keras.initializers.get(kernel_initializer), len(input_shape) - 1

    def layer(kind, *args, **kwargs):
        return getattr(keras.layers, f"{kind.format(rank)}")(*args, dtype=dtype, **kwargs)

    def convolution(kind, filters, kernel_size, **kwargs):
        kernel = {"kernel_initializer": copy_of(initializer), "padding": "same", "data_format": "channels_last"}
        return layer(kind, filters, kernel_size, **kernel, **kwargs)

    def per_unit(unit_axis):
        """The constraint on a kernel, by which the entries of one unit, an index of that axis, have norm 1 together."""
        axes = [axis for axis in range(rank + 2) if axis != unit_axis]
        return keras.constraints.UnitNorm(axis=axes) if arguments["unit_norm"] else None

    inputs = code = keras.Input(input_shape, name="inputs")
    for level in levels:
        pooled = arguments["pooling"] is not None and level["strides"] > 1
        code = convolution(
            "Conv{}D",
            level["filters"],
            level["kernel_size"],
            strides=1 if pooled else level["strides"],
            activation=level["activation"],
            kernel_constraint=per_unit(rank + 1) if arguments["tied"] else None,
            name=level["name"],
        )(code)
        if pooled:
            kind, name = _POOLING[arguments["pooling"]], level["name"].replace("encode", "pool")
            code = layer(kind + "{}D", level["strides"], padding="same", data_format="channels_last", name=name)(code)
        code = append_selections(code, level["selections"], level["code"])
    encoder = keras.Model(inputs, code, name="encoder")

    def decode(outputs, shape, kernel_size, strides, activation, level):
        """Decodes to `shape`, a tuple `(*sizes, channels)`."""
        suffix = level["name"].removeprefix("encode")
        *sizes, channels = shape
        if arguments["tied"]:
            size = None if None in sizes else tuple(sizes)
            tied = TiedConvTranspose(
                encoder.get_layer(level["name"]), size, activation=activation, name=f"decode{suffix}", dtype=dtype
            )
            return tied(outputs)
        kernel = {"activation": activation, "name": f"decode{suffix}"}
        if arguments["upsampling"] == "nearest":
            if strides > 1:
                name = f"upsample{suffix}"
                outputs = layer("UpSampling{}D", strides, **_channels_last(rank), name=name)(outputs)
                outputs = crop(outputs, sizes, f"crop{suffix}")
            return convolution("Conv{}D", channels, kernel_size, kernel_constraint=per_unit(rank), **kernel)(outputs)
        kernel |= {"strides": strides, "kernel_constraint": per_unit(rank + 1)}
        outputs = convolution("Conv{}DTranspose", channels, kernel_size, **kernel)(outputs)
        return crop(outputs, sizes, f"crop{suffix}")

    def crop(outputs, sizes, name):
        excess = [0 if size is None else have - size for have, size in zip(outputs.shape[1:-1], sizes, strict=True)]
        if not any(excess):
            return outputs
        cropping = [(0, more) for more in excess]
        return layer("Cropping{}D", cropping[0] if rank == 1 else cropping, **_channels_last(rank), name=name)(outputs)

    codes = outputs = keras.Input(encoder.outputs[0].shape[1:], name="codes", dtype=encoder.outputs[0].dtype)
    output_activation = keras.activations.get(output_activation)
    if arguments["decoder_kernel_size"]:
        strides = math.prod(level["strides"] for level in levels)
        outputs = decode(outputs, input_shape, arguments["decoder_kernel_size"], strides, output_activation, levels[-1])
    else:
        for level, below in zip(reversed(levels), [*reversed(levels[:-1]), None], strict=True):
            shape = input_shape if below is None else encoder.get_layer(below["code"]).output.shape[1:]
            activation = output_activation if below is None else below["activation"]
            outputs = decode(outputs, shape, level["kernel_size"], level["strides"], activation, level)
    decoder = keras.Model(codes, outputs, name="decoder")
    apply_constraints(encoder, decoder)
    return encoder, decoder


def _channels_last(rank):
    """Cropping and upsampling of one spatial axis know no other format, and take no argument for it."""
    return {} if rank == 1 else {"data_format": "channels_last"}
