import math
import operator

import keras

from keras_sae.layers import TiedDense
from keras_sae.models.sparse_autoencoder import append_selections


def dense_encoder(input_shape, levels, kernel_initializer, dtype):
    """A functional encoder of dense levels, one after the other.

    Args:
        input_shape: Tuple, flattened where it is no vector.
        levels: List of dictionaries, from the input to the code: `name` of the dense layer, `units`, `activation`, the
            `selections` after it, the name of the `code` that they leave, and optionally `constraint` on the kernel.
        kernel_initializer: Initializer of the kernels. Each but the first has a copy: one object draws the same numbers twice.
        dtype: Dtype policy of the dense layers.
    """
    inputs = keras.Input(input_shape, name="inputs")
    code = keras.layers.Flatten(name="flatten", dtype=dtype)(inputs) if len(input_shape) > 1 else inputs
    for index, level in enumerate(levels):
        code = keras.layers.Dense(
            level["units"],
            activation=level["activation"],
            kernel_initializer=copy_of(kernel_initializer) if index else kernel_initializer,
            kernel_constraint=level.get("constraint"),
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
        constraint: Constraint on the kernel that reads the code, where it is not tied.
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
                kernel_constraint=constraint if outputs is codes else None,
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


def normalize(kernel):
    """Brings a kernel to where its constraint will keep it."""
    kernel.assign(kernel.constraint(kernel))


def copy_of(initializer):
    return keras.initializers.get(keras.initializers.serialize(initializer))


def selections_after(encoder, layer, code):
    """The selections between a dense layer of an encoder and the code that they leave."""
    layers = encoder.layers
    return layers[layers.index(encoder.get_layer(layer)) + 1 : layers.index(encoder.get_layer(code))]
