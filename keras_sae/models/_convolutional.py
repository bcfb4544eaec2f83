import operator
import warnings

import keras

from keras_sae._checks import check_integer
from keras_sae.models._arguments import check_options
from keras_sae.models._centered import resolve_center
from keras_sae.models._conv_graph import ConvGraph
from keras_sae.models._level import config_of_levels, make_levels, one_each, selections_in
from keras_sae.models._sparse_autoencoder import SparseAutoencoder


@keras.saving.register_keras_serializable(package="keras_sae")
class ConvolutionalAutoencoder(SparseAutoencoder):
    """A sparse autoencoder of convolutions. Its code has a map for each unit, over one, two or three spatial axes.

        level_i = select(activation(convolution_i(level_(i-1))))        code = the last level

    The decoder mirrors the encoder level by level, or is one transposed convolution. The reconstruction always has the size
    of the input: where strides rounded up, it is cropped.

    Args:
        input_shape: Tuple `(steps, channels)`, `(height, width, channels)` or `(depth, height, width, channels)`. Sizes may
            be None where no level reduces them.
        filters: Integer or list of integers, each at least 1. The number of maps of each level; the last is the code.
        sparsity: Mechanisms of the code: a selection layer, a penalty, a list of both, or their Keras configs. Or a
            dictionary of these by level, `{"level_1": keras.regularizers.L1(1e-4), "code": KSparse(2)}`. Selections say
            which entries compete: `KSparse(k, across="units")`, `"positions"` or `"all"`; `WinnerTakeAll(spatial=True)`.
        kernel_size: Integer, or a list of one for each level.
        strides: Integer, at least 1, or a list of one for each level. The factor by which a level reduces the size.
        pooling: How a level reduces the size: None for a convolution with strides, `"max"` or `"average"` for pooling after
            the convolution.
        upsampling: How the decoder restores the size: `"transpose"` for a transposed convolution, `"nearest"` for repetition
            and a convolution.
        decoder_kernel_size: None for a decoder that mirrors the encoder. With an integer, the decoder is one transposed
            convolution of that size.
        tied: Whether the decoder is the transpose of the encoder and shares its kernels. For strides and `"transpose"` only.
        activation: Activation of the code, before selections. By default the one that its mechanism is defined for, otherwise
            "relu"; see `DenseAutoencoder`.
        hidden_activation: Activation of the levels below, on both sides of the code, or a list of one for each. By default
            the one that the mechanism of the level is defined for, otherwise "relu".
        output_activation: Activation of the reconstruction.
        kernel_initializer: Initializer of the kernels.
        unit_norm: Whether the weights that decode each unit of a level are kept at norm 1.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder; see `SparseAutoencoder`.
        center: Whether the model subtracts the mean of the data, of each channel, from its input and adds it to its
            reconstruction. `fit` or `adapt` sets the mean. None, the default: where a selection makes the
            code. With another `output_activation` than linear, the mean is not added. See `docs/centring.md`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16".
        kernel_regularizer: Regularizer of the kernels, such as `keras.regularizers.L2(1e-4)`; see `SparseAutoencoder`.
        preprocessing: A layer, or a list of layers, that the encoder begins with and the decoder does not undo:
            `[Patches(6), ContrastNormalization(), ZCAWhitening()]`, whose patches a convolution with `kernel_size=1` reads.
            The model reconstructs what they give. `fit` or `adapt` sets what they learn from data. See `docs/features.md`.
        features: What classifiers read, where it is not the code; see `SparseAutoencoder`.

    Input shape:
        `(batch, *input_shape)`, float, channels last.

    Output shape:
        The same. `encoder` gives codes of shape `(batch, *sizes, filters[-1])`.

    Example:

    >>> model = ConvolutionalAutoencoder((27, 31, 3), [16, 8], sparsity=KSparse(2, across="units"))
    >>> model.encoder.output_shape, model.output_shape
    ((None, 7, 8, 8), (None, 27, 31, 3))

    The convolutional winner-take-all autoencoder has no strides, one winner in each map, and one linear deconvolution:

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
        center=None,
        name=None,
        dtype=None,
        kernel_regularizer=None,
        preprocessing=None,
        features=None,
        **kwargs,
    ):
        filters, kernel_size, strides = _of_levels(filters, kernel_size, strides)
        if decoder_kernel_size:
            decoder_kernel_size = check_integer("decoder_kernel_size", decoder_kernel_size, "is a size")
        arguments = {
            "pooling": pooling,
            "upsampling": upsampling,
            "decoder_kernel_size": decoder_kernel_size,
        }
        arguments["tied"], arguments["unit_norm"] = check_options(tied, unit_norm)
        _check_choices(**arguments)
        input_shape = _check_shape(input_shape, strides)
        levels, penalties = make_levels(filters, sparsity, activation, hidden_activation, kernel_size, strides)
        encoder, decoder = ConvGraph(
            input_shape=input_shape,
            levels=levels,
            output_activation=keras.activations.get(output_activation),
            initializer=keras.initializers.get(kernel_initializer),
            dtype=dtype,
            center=resolve_center(center, selections_in(levels), preprocessing),
            preprocessing=preprocessing,
            **arguments,
        ).pair()
        super().__init__(
            encoder,
            decoder,
            sparsity=penalties,
            corruption=corruption,
            name=name,
            kernel_regularizer=kernel_regularizer,
            features=features,
            **kwargs,
        )
        self._untracked.levels, self._untracked.arguments = levels, arguments

    def for_inputs(self, input_shape):
        """This model for inputs of another size: a copy with the same weights, not compiled.

        Convolutions read any size, but selections among positions, and decoders that undo strides, must know it. A model
        made with `input_shape=(None, None, channels)` reads every size without this.

        Args:
            input_shape: Tuple, as in the constructor, with as many channels as now.

        Raises:
            ValueError: A weight belongs to the size of the inputs, such as a `Standardize(per="entry")` of whole maps.

        Example:

        >>> model = ConvolutionalAutoencoder((32, 32, 3), 8, features=GridPooling(2))
        >>> model.for_inputs((96, 64, 3)).features.output_shape
        (None, 2, 2, 8)
        """
        other = type(self).from_config({**self.get_config(), "input_shape": tuple(input_shape)})
        shapes = [[tuple(weight.shape) for weight in model.weights] for model in (self, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "A weight of the model has another shape for inputs of another size, so it cannot be copied. "
                f"Received: input_shape={input_shape!r} for a model of {self.input_shape[1:]}."
            )
        other.set_weights(self.get_weights())
        return other

    def get_config(self):
        levels, arguments = self._untracked.levels, self._untracked.arguments
        output_level = levels[-1] if arguments["decoder_kernel_size"] else levels[0]
        return {
            **config_of_levels(self, levels, output_level.layer_name("decode")),
            "filters": [level.units for level in levels],
            "kernel_size": [level.kernel_size for level in levels],
            "strides": [level.strides for level in levels],
            **arguments,
        }


def _of_levels(filters, kernel_size, strides):
    """The three arguments as lists of one integer for each level."""
    count = len(filters) if isinstance(filters, (list, tuple)) else 1
    if not count:
        raise ValueError("`filters` lists the number of maps of each level, at least one. Received: filters=[].")
    arguments = {"filters": filters, "kernel_size": kernel_size, "strides": strides}
    return [_integers(name, value, count) for name, value in arguments.items()]


def _integers(name, value, count):
    """An argument that is an integer for all levels, or a list of one for each, as a list."""
    meaning = "is an integer for all levels, or a list of one for each,"
    return [check_integer(name, each, meaning) for each in one_each(name, value, count)]


def _check_choices(pooling, upsampling, decoder_kernel_size, tied, unit_norm):
    for name, value, choices in (
        ("pooling", pooling, (None, "max", "average")),
        ("upsampling", upsampling, ("transpose", "nearest")),
    ):
        if value not in choices:
            raise ValueError(f"`{name}` must be {' or '.join(map(repr, choices))}. Received: {name}={value!r}.")
    if decoder_kernel_size and upsampling != "transpose":
        raise ValueError(
            "`decoder_kernel_size` makes the decoder one transposed convolution, so `upsampling` would have no effect. "
            f"Received: decoder_kernel_size={decoder_kernel_size}, upsampling={upsampling!r}."
        )
    if tied and (pooling is not None or upsampling != "transpose" or decoder_kernel_size):
        raise ValueError(
            "`tied` makes the decoder the transpose of the encoder: strides reduce the size, and transposed convolutions "
            "restore it. Leave out `pooling`, `upsampling` and `decoder_kernel_size`. Received: "
            f"pooling={pooling!r}, upsampling={upsampling!r}, decoder_kernel_size={decoder_kernel_size}."
        )


def _check_shape(input_shape, strides):
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else (input_shape,)
    known = all(size is None or (not isinstance(size, bool) and hasattr(size, "__index__") and size >= 1) for size in shape)
    if len(shape) not in (2, 3, 4) or not known or shape[-1] is None:
        raise ValueError(
            "`input_shape` is the shape of one input, channels last: (steps, channels), (height, width, channels) or (depth, "
            f"height, width, channels). Received: input_shape={input_shape!r}. Give grayscale images a channel: (28, 28, 1)."
        )
    if len(shape) == 2 and shape[0] is not None and shape[0] <= 2 * shape[1] <= 4 * shape[0] and shape[1] >= 8:
        warnings.warn(
            f"input_shape={shape} means a series of {shape[0]} steps of {shape[1]} channels. If you mean grayscale images, "
            f"give them a channel: ({shape[0]}, {shape[1]}, 1).",
            stacklevel=3,
        )
    if None in shape and max(strides) > 1:
        raise ValueError(
            "Strides and pooling round sizes up, and the decoder, which sees the code alone, cannot know by how much. "
            f"Received: input_shape={input_shape!r} with strides={strides}. Give every size, or use strides=1."
        )
    return tuple(size if size is None else operator.index(size) for size in shape)
