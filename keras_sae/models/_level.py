import dataclasses
from collections.abc import Callable

import keras

from keras_sae.models._centered import center_config
from keras_sae.models._changes import original_dtype
from keras_sae.models._preprocessing import preprocessing_config
from keras_sae.models._sparsity import read_sparsity, resolve_activation, serialize_sparsity


@dataclasses.dataclass(frozen=True)
class Level:
    """A level of an encoder: a layer with a kernel, and the selections after it.

    Attributes:
        code: Name of the code that the level makes, and of the layer that gives it: "level_1", ..., "code".
        units: Integer, the width of the code.
        activation: Function. The level above is decoded with it too.
        selections: Tuple of selections.
        kernel_size, strides: Integers, for a convolution.
    """

    code: str
    units: int
    activation: Callable
    selections: tuple = ()
    kernel_size: int | None = None
    strides: int | None = None

    def layer_name(self, kind):
        """The name of a layer of this level: `"encode_1"` of the first, `"encode"` of the last."""
        return kind + self.code.removeprefix("level") if self.code.startswith("level_") else kind


def level_names(count):
    """The names of the codes of `count` levels, from the input to the code."""
    return [*(f"level_{number}" for number in range(1, count)), "code"]


def one_each(name, value, count):
    """An argument that is one for all levels, or a list of one for each, as a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ValueError(
            f"`{name}` is one value for all levels, or a list of one for each of the {count}. Received: {name}={value!r}."
        )
    return values


def make_levels(units, sparsity, activation, hidden_activation=(), kernel_size=None, strides=None):
    """Reads the arguments of an architecture of levels.

    Args:
        units: List of the widths, from the input to the code.
        sparsity: The argument of the architecture.
        activation: Activation of the code, or None for the one that its mechanisms are defined for.
        hidden_activation: The same for the levels below, or a list of one for each.
        kernel_size, strides: Lists of one for each level, for convolutions.

    Returns:
        Tuple of levels, and the penalties by the names of codes.
    """
    count = len(units)
    names = level_names(count)
    selections, penalties = read_sparsity(sparsity, names)
    hidden = one_each("hidden_activation", hidden_activation, count - 1) if count > 1 else []
    activations = [
        resolve_activation(wanted, [*selections[name], *penalties.get(name, [])])
        for name, wanted in zip(names, [*hidden, activation], strict=True)
    ]
    chosen = [tuple(selections[name]) for name in names]
    sizes = kernel_size or [None] * count, strides or [None] * count
    return tuple(Level(*each) for each in zip(names, units, activations, chosen, *sizes, strict=True)), penalties


def selections_in(levels):
    """The selections of all levels."""
    return [selection for level in levels for selection in level.selections]


def config_of_levels(model, levels, output_layer):
    """The constructor arguments that architectures of levels share.

    They are read off the model when asked for. Configs that were made while Keras loads a model would carry marks of that load.

    Args:
        model: The model.
        levels: Its levels.
        output_layer: Name of the layer of the decoder that gives the reconstruction.
    """
    encode = model.encoder.get_layer(levels[-1].layer_name("encode"))
    selections = {level.code: level.selections for level in levels}
    return {
        **center_config(model.encoder),
        **preprocessing_config(model.encoder),
        "name": model.name,
        "trainable": model.trainable,
        "input_shape": model.encoder.inputs[0].shape[1:],
        "sparsity": serialize_sparsity(selections, model.penalties_by_code),
        "activation": keras.activations.serialize(levels[-1].activation),
        "hidden_activation": [keras.activations.serialize(level.activation) for level in levels[:-1]],
        "output_activation": keras.activations.serialize(model.decoder.get_layer(output_layer).activation),
        "kernel_initializer": keras.initializers.serialize(encode.kernel_initializer),
        "corruption": keras.saving.serialize_keras_object(model.corruption),
        "dtype": original_dtype(encode),
        **model.optional_config(),
    }


def apply_constraints(*models):
    """Makes weights obey their constraints before the first step already."""
    for model in models:
        for weight in model.trainable_weights:
            if weight.constraint is not None:
                weight.assign(weight.constraint(weight))


def copy_of(initializer):
    """Another initializer of the same config. One object would draw the same numbers twice."""
    return keras.initializers.get(keras.initializers.serialize(initializer))
