import math
import operator

import keras

from keras_sae.layers import TiedDense
from keras_sae.models._level import apply_constraints, config_of_levels, copy_of
from keras_sae.models._sparse_autoencoder import append_selections


def dense_pair(input_shape, levels, output_activation, tied, unit_norm, kernel_initializer, dtype):
    """An encoder of dense levels, and the decoder that mirrors it.

    Args:
        input_shape: Tuple, flattened where it is no vector, and restored.
        levels: List of dictionaries, from the input to the code: `name` of the dense layer, `units`, `activation`, the
            `selections` after it, and the name of the `code` that they leave.
        output_activation: Activation of the reconstruction. Decoding to a level is activated as that level was.
        tied: Whether the decoder reads the transposed kernels of the encoder.
        unit_norm: Whether the weights by which each unit of a level is decoded are kept at norm 1.
        kernel_initializer: Initializer of the kernels.
        dtype: Dtype policy of the layers.

    Returns:
        `(encoder, decoder)`, functional models.
    """
    kernel_initializer = keras.initializers.get(kernel_initializer)
    encoder_constraint = keras.constraints.UnitNorm(axis=0) if unit_norm and tied else None
    decoder_constraint = keras.constraints.UnitNorm(axis=1) if unit_norm and not tied else None
    activations = [*(level["activation"] for level in reversed(levels[:-1])), keras.activations.get(output_activation)]
    encoder = dense_encoder(input_shape, levels, kernel_initializer, encoder_constraint, dtype)
    decoder = dense_decoder(encoder, levels, activations, tied, kernel_initializer, decoder_constraint, dtype)
    apply_constraints(encoder, decoder)
    return encoder, decoder


def config_of_pair(model):
    """The arguments that the models of a `dense_pair` share."""
    encode, decode = model.encoder.get_layer("encode"), model.decoder.get_layer("decode")
    tied = isinstance(decode, TiedDense)
    return {
        **config_of_levels(model),
        "code_units": encode.units,
        "tied": tied,
        "unit_norm": (encode if tied else decode).kernel.constraint is not None,
    }


def dense_encoder(input_shape, levels, kernel_initializer, constraint, dtype):
    """A functional encoder of dense levels, one after the other.

    Args:
        input_shape: Tuple, flattened where it is no vector.
        levels: List of dictionaries, from the input to the code: `name` of the dense layer, `units`, `activation`, the
            `selections` after it, and the name of the `code` that they leave.
        kernel_initializer: Initializer of the kernels. Each but the first has a copy.
        constraint: Constraint on the kernels.
        dtype: Dtype policy of the dense layers.
    """
    inputs = keras.Input(input_shape, name="inputs")
    code = keras.layers.Flatten(name="flatten", dtype=dtype)(inputs) if len(input_shape) > 1 else inputs
    for index, level in enumerate(levels):
        code = keras.layers.Dense(
            level["units"],
            activation=level["activation"],
            kernel_initializer=copy_of(kernel_initializer) if index else kernel_initializer,
            kernel_constraint=constraint,
            name=level["name"],
            dtype=dtype,
        )(code)
        code = append_selections(code, level["selections"], level["code"])
    return keras.Model(inputs, code, name="encoder")


def dense_decoder(encoder, levels, activations, tied, kernel_initializer, constraint, dtype):
    """The decoder that mirrors a `dense_encoder`.

    Args:
        encoder: The encoder.
        levels: Its levels.
        activations: Activations of the decoding layers, from the code to the reconstruction.
        tied: Whether they read the transposed kernels of the encoder.
        constraint: Constraint on the kernels, where they are not tied.
    """
    input_shape = encoder.inputs[0].shape[1:]
    codes = keras.Input(encoder.outputs[0].shape[1:], name="codes", dtype=encoder.outputs[0].dtype)
    outputs = codes
    sizes = [math.prod(input_shape), *(level["units"] for level in levels)]
    for level, size, activation in zip(reversed(levels), reversed(sizes[:-1]), activations, strict=True):
        name = level["name"].replace("encode", "decode")
        if tied:
            decode = TiedDense(encoder.get_layer(level["name"]), activation=activation, name=name, dtype=dtype)
        else:
            decode = keras.layers.Dense(
                size,
                activation=activation,
                kernel_initializer=copy_of(kernel_initializer),
                kernel_constraint=constraint,
                name=name,
                dtype=dtype,
            )
        outputs = decode(outputs)
    if len(input_shape) > 1:
        outputs = keras.layers.Reshape(input_shape, name="restore_shape", dtype=dtype)(outputs)
    return keras.Model(codes, outputs, name="decoder")


def check_width(name, units):
    """A width as an integer, or a ValueError."""
    if isinstance(units, bool) or not hasattr(units, "__index__") or units < 1:
        raise ValueError(f"`{name}` is the width of a code, an integer of at least 1. Received: {name}={units!r}.")
    return operator.index(units)


def check_shape(input_shape):
    """An input shape as a tuple of integers, or a ValueError."""
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else (input_shape,)
    if not shape or any(isinstance(size, bool) or not hasattr(size, "__index__") or size < 1 for size in shape):
        raise ValueError(
            "`input_shape` is the shape of one input without the batch axis, and a dense autoencoder must know every size "
            f"in it. Received: input_shape={input_shape!r}. Give a tuple of positive integers such as (28, 28, 1)."
        )
    return tuple(map(operator.index, shape))
