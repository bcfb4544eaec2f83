import operator

import keras

from keras_sae.models._conv_graph import conv_pair
from keras_sae.models._level import config_of_levels, make_levels, one_each
from keras_sae.models._sparse_autoencoder import SparseAutoencoder
from keras_sae.models._sparsity import join_sparsity


@keras.saving.register_keras_serializable(package="keras_sae")
class ConvolutionalAutoencoder(SparseAutoencoder):
    """A sparse autoencoder whose code is a stack of maps, one per unit, over one, two or three spatial axes.

        level_i = select(activation(convolution_i(level_(i-1))))        code = the last level

    The decoder mirrors the encoder level by level, or is one transposed convolution. The reconstruction has the size of the
    input, whatever that is: what strides round up is cropped.

    Args:
        input_shape: Tuple `(steps, channels)`, `(height, width, channels)` or `(depth, height, width, channels)`. Where no
            level reduces the size, sizes may be None.
        filters: Integer, or a list of integers, each at least 1: the number of maps of each level. The last is that of the
            code.
        sparsity: Mechanisms of the code: a selection layer, a penalty, a list of both, or their Keras configs. Or a
            dictionary of such by level, `{"level_1": keras.regularizers.L1(1e-4), "code": KSparse(2)}`. Say what competes:
            `KSparse(k, across="units")`, `"positions"` or `"all"`; `WinnerTakeAll(spatial=True)`.
        kernel_size: Integer, or a list of one for each level.
        strides: Integer, at least 1, or a list of one for each level: by how much a level reduces the size.
        pooling: How it does: None for a convolution with strides, `"max"` or `"average"` for pooling after it.
        upsampling: How the decoder undoes it: `"transpose"` for a transposed convolution, `"nearest"` for repetition and a
            convolution.
        decoder_kernel_size: None for a decoder that mirrors the encoder. An integer decodes the code by one transposed
            convolution of that size.
        tied: Whether the decoder is the transpose of the encoder, with its kernels. For strides and `"transpose"` only.
        activation: Activation of the code, before selections. Defaults to what its mechanism is defined for, otherwise
            "relu"; see `DenseAutoencoder`.
        hidden_activation: Activation of the levels below, on both sides of the code, or a list of one for each. Defaults to
            what the mechanism of the level is defined for, otherwise "relu".
        output_activation: Activation of the reconstruction.
        kernel_initializer: Initializer of the kernels.
        unit_norm: Whether the weights by which each unit of a level is decoded are kept at norm 1.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder; see `SparseAutoencoder`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16".

    Input shape:
        `(batch, *input_shape)`, float, channels last.

    Output shape:
        The same. `encoder` gives codes of shape `(batch, *sizes, filters[-1])`.

    Example:

    >>> model = ConvolutionalAutoencoder((27, 31, 3), [16, 8], sparsity=KSparse(2, across="units"))
    >>> model.encoder.output_shape, model.output_shape
    ((None, 7, 8, 8), (None, 27, 31, 3))

    The convolutional winner-take-all autoencoder: no strides, one winner a map, one linear deconvolution.

    >>> model = ConvolutionalAutoencoder(
    ...     (28, 28, 1), [64, 64], WinnerTakeAll(spatial=True, lifetime=0.05), kernel_size=5, strides=1, decoder_kernel_size=11
    ... )
    >>> model.encoder.get_layer("encode").output.shape        # before the selection, for pooled features
    (None, 28, 28, 64)

    References:
        Masci, Meier, Ciresan and Schmidhuber, "Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction",
        ICANN 2011. Makhzani and Frey, "Winner-Take-All Autoencoders", NIPS 2015, https://arxiv.org/abs/1409.2752.
    """

    architecture = "conv"

    def __init__(
        self,
        input_shape,
        filters,
        sparsity=None,
        kernel_size=3,
        strides=2,
        pooling=None,
        upsampling="transpose",
        decoder_kernel_size=None,
        tied=False,
        activation=None,
        hidden_activation=None,
        output_activation="linear",
        kernel_initializer="glorot_uniform",
        unit_norm=False,
        corruption=None,
        name=None,
        dtype=None,
        **kwargs,
    ):
        count = len(filters) if isinstance(filters, (list, tuple)) else 1
        if not count:
            raise ValueError("`filters` lists the number of maps of each level, at least one. Received: filters=[].")
        arguments = {
            "filters": _integers("filters", filters, count),
            "kernel_size": _integers("kernel_size", kernel_size, count),
            "strides": _integers("strides", strides, count),
            "pooling": pooling,
            "upsampling": upsampling,
            "decoder_kernel_size": decoder_kernel_size and _integers("decoder_kernel_size", decoder_kernel_size, 1)[0],
            "tied": bool(tied),
            "unit_norm": bool(unit_norm),
        }
        _check_choices(arguments)
        input_shape = _check_shape(input_shape, arguments["strides"])
        levels, charges = make_levels(count, sparsity, activation, hidden_activation)
        for index, level in enumerate(levels):
            level.update({key: arguments[key][index] for key in ("filters", "kernel_size", "strides")})
        encoder, decoder = conv_pair(input_shape, levels, arguments, output_activation, kernel_initializer, dtype)
        sparsity = join_sparsity({}, charges)
        super().__init__(encoder, decoder, sparsity=sparsity, corruption=corruption, name=name, **kwargs)
        self._arguments = arguments

    def get_config(self):
        arguments = {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in self._arguments.items()}
        return {**config_of_levels(self), **arguments}


def _integers(name, value, count):
    """An argument that is an integer for all levels or a list of one for each, as a list."""
    values = one_each(name, value, count)
    if not all(not isinstance(one, bool) and hasattr(one, "__index__") and one >= 1 for one in values):
        raise ValueError(f"`{name}` counts, and is at least 1 for every level. Received: {name}={value!r}.")
    return [operator.index(one) for one in values]


def _check_choices(arguments):
    for name, choices in (("pooling", (None, "max", "average")), ("upsampling", ("transpose", "nearest"))):
        if arguments[name] not in choices:
            raise ValueError(f"`{name}` must be {' or '.join(map(repr, choices))}. Received: {name}={arguments[name]!r}.")
    if arguments["decoder_kernel_size"] and arguments["upsampling"] != "transpose":
        raise ValueError(
            "`decoder_kernel_size` makes the decoder one transposed convolution, which `upsampling` does not change. "
            f"Received: decoder_kernel_size={arguments['decoder_kernel_size']}, upsampling={arguments['upsampling']!r}."
        )
    mirrored = arguments["pooling"] is None and arguments["upsampling"] == "transpose" and not arguments["decoder_kernel_size"]
    if arguments["tied"] and not mirrored:
        raise ValueError(
            "`tied` makes the decoder the transpose of the encoder, which is one where strides reduce the size and transposed "
            "convolutions restore it. Leave out `pooling`, `upsampling` and `decoder_kernel_size`. Received: "
            f"pooling={arguments['pooling']!r}, upsampling={arguments['upsampling']!r}, "
            f"decoder_kernel_size={arguments['decoder_kernel_size']}."
        )


def _check_shape(input_shape, strides):
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else (input_shape,)
    known = all(size is None or (not isinstance(size, bool) and hasattr(size, "__index__") and size >= 1) for size in shape)
    if len(shape) not in (2, 3, 4) or not known or shape[-1] is None:
        raise ValueError(
            "`input_shape` is the shape of one input, channels last: (steps, channels), (height, width, channels) or (depth, "
            f"height, width, channels). Received: input_shape={input_shape!r}. Give grayscale images a channel: (28, 28, 1)."
        )
    if None in shape and max(strides) > 1:
        raise ValueError(
            "A decoder sees the code alone, and must be told the size that strides or pooling have rounded up. Received: "
            f"input_shape={input_shape!r} with strides={strides}. Give every size, or use strides=1."
        )
    return tuple(size if size is None else operator.index(size) for size in shape)
