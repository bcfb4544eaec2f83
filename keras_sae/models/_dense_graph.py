import math

import keras

from keras_sae._checks import check_integer
from keras_sae.layers import TiedDense
from keras_sae.models._arguments import check_options
from keras_sae.models._centered import add_mean, subtract_mean
from keras_sae.models._code import append_selections
from keras_sae.models._level import apply_constraints, config_of_levels, copy_of
from keras_sae.models._preprocessing import preprocess, shape_to_encode


def dense_pair(input_shape, levels, output_activation, tied, unit_norm, kernel_initializer, dtype, center, preprocessing):
    """An encoder of dense levels, and the decoder that mirrors it, as functional models.

    Args:
        input_shape: Tuple. Anything but a vector is flattened and restored.
        levels: Tuple of levels, from the input to the code.
        output_activation: Activation of the reconstruction.
        tied: Whether the decoder reads the transposed kernels of the encoder.
        unit_norm: Whether the weights that decode each unit of a level are kept at norm 1.
        kernel_initializer: Initializer of the kernels.
        dtype: Dtype policy of the layers.
        center: Whether the encoder subtracts the mean of the data, and the decoder adds it.
        preprocessing: Layers that the encoder begins with.
    """
    kernel_initializer = keras.initializers.get(kernel_initializer)
    tied, unit_norm = check_options(tied, unit_norm)
    encoder_constraint = keras.constraints.UnitNorm(axis=0) if unit_norm and tied else None
    decoder_constraint = keras.constraints.UnitNorm(axis=1) if unit_norm and not tied else None
    encoder = dense_encoder(input_shape, levels, kernel_initializer, encoder_constraint, dtype, center, preprocessing)
    decoder = dense_decoder(encoder, levels, output_activation, tied, kernel_initializer, decoder_constraint, dtype)
    apply_constraints(encoder, decoder)
    return encoder, decoder


def config_of_pair(model, levels):
    """The constructor arguments that the models of a `dense_pair` share."""
    encode, decode = model.encoder.get_layer("encode"), model.decoder.get_layer("decode")
    tied = isinstance(decode, TiedDense)
    return {
        **config_of_levels(model, levels, levels[0].layer_name("decode")),
        "code_units": levels[-1].units,
        "hidden_units": [level.units for level in levels[:-1]],
        "tied": tied,
        "unit_norm": (encode if tied else decode).kernel_constraint is not None,
    }


def dense_encoder(input_shape, levels, kernel_initializer, constraint, dtype, center, preprocessing):
    """A functional encoder of dense levels."""
    inputs = keras.Input(input_shape, name="inputs")
    code = flat_input(inputs, preprocessing, center, dtype)
    for index, level in enumerate(levels):
        code = keras.layers.Dense(
            level.units,
            activation=level.activation,
            kernel_initializer=copy_of(kernel_initializer) if index else kernel_initializer,
            kernel_constraint=constraint,
            name=level.layer_name("encode"),
            dtype=dtype,
        )(code)
        code = append_selections(code, level.selections, level.code)
    return keras.Model(inputs, code, name="encoder")


def flat_input(inputs, preprocessing, center, dtype):
    """The symbolic input of dense layers: preprocessed, centred and flattened."""
    code = preprocess(inputs, preprocessing, dtype, flat=True)
    if center:
        code = subtract_mean(code, "entry", dtype)
    if len(code.shape) > 2:
        code = keras.layers.Flatten("channels_last", name="flatten", dtype=dtype)(code)
    return code


def dense_decoder(encoder, levels, output_activation, tied, kernel_initializer, constraint, dtype):
    """The decoder that mirrors a `dense_encoder` of these levels. `constraint` is that of kernels of its own."""
    input_shape = shape_to_encode(encoder)
    codes = outputs = keras.Input(encoder.outputs[0].shape[1:], name="codes", dtype=encoder.outputs[0].dtype)
    output_activation = keras.activations.get(output_activation)
    for level, below in zip(reversed(levels), [*reversed(levels[:-1]), None], strict=True):
        options = {
            "activation": output_activation if below is None else below.activation,
            "name": level.layer_name("decode"),
            "dtype": dtype,
        }
        if tied:
            decode = TiedDense(encoder.get_layer(level.layer_name("encode")), **options)
        else:
            width = math.prod(input_shape) if below is None else below.units
            initializer = copy_of(kernel_initializer)
            decode = keras.layers.Dense(width, kernel_initializer=initializer, kernel_constraint=constraint, **options)
        outputs = decode(outputs)
    if len(input_shape) > 1:
        outputs = keras.layers.Reshape(input_shape, name="restore_shape", dtype=dtype)(outputs)
    outputs = add_mean(encoder, outputs, output_activation, dtype)
    return keras.Model(codes, outputs, name="decoder")


def check_width(name, units):
    """A width as an integer, or a ValueError."""
    return check_integer(name, units, "is the width of a code")


def check_widths(name, units):
    """Widths as a list of integers, from an integer or a list of integers."""
    return [check_width(name, each) for each in (units if isinstance(units, (list, tuple)) else [units])]


def check_shape(input_shape):
    """An input shape as a tuple of integers, or a ValueError."""
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else (input_shape,)
    try:
        if shape:
            return tuple(check_integer("input_shape", size, "lists sizes") for size in shape)
    except ValueError:
        pass
    raise ValueError(
        "`input_shape` is the shape of one input without the batch axis, and a dense autoencoder must know every size in it. "
        f"Received: input_shape={input_shape!r}. Give a tuple of positive integers such as (28, 28, 1)."
    )
