"""What architectures of levels share, dense or convolutional: from arguments to levels, and from a model to its config."""

import keras

from keras_sae.models._sparsity import penalties_of, resolve_activation, serialize_sparsity, split_levels


def one_each(name, value, count):
    """An argument that is one for all levels, or a list of one for each, as a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ValueError(
            f"`{name}` is one for all levels, or a list of one for each, here {count}. Received: {name}={value!r}."
        )
    return values


def level_names(count):
    """The names of the codes of so many levels, from the input to the code."""
    return [*(f"level_{number}" for number in range(1, count)), "code"]


def make_levels(count, sparsity, activation, hidden_activation=()):
    """Describes the levels of an encoder.

    Args:
        count: Integer, how many there are.
        sparsity: As for `split_levels`.
        activation: That of the code, or None for what its mechanisms are defined for.
        hidden_activation: The same for the levels below, or a list of one for each.

    Returns:
        List of dictionaries, from the input to the code: `name` of the layer that computes the level, its `activation`, the
        `selections` after it, and the name of the `code` that they leave. And the charges, as of `split_levels`.
    """
    hidden = list(hidden_activation) if isinstance(hidden_activation, (list, tuple)) else [hidden_activation] * (count - 1)
    if len(hidden) != count - 1:
        raise ValueError(
            "`hidden_activation` is one activation, or a list of one for each level below the code. Received: "
            f"{len(hidden)} activations for {count - 1} levels."
        )
    codes = level_names(count)
    selections, charges = split_levels(sparsity, codes)
    levels = []
    for code, wanted in zip(codes, [*hidden, activation], strict=True):
        mechanisms = [*selections[code], *penalties_of(code, charges)]
        levels.append(
            {
                "name": "encode" if code == "code" else code.replace("level", "encode"),
                "code": code,
                "activation": resolve_activation(wanted, mechanisms),
                "selections": selections[code],
            }
        )
    return levels, charges


def config_of_levels(model):
    """The arguments that models of levels share.

    They are read off the model rather than kept: while Keras loads a model, configs made then would carry marks of that load.
    """
    hidden = [layer for layer in model.encoder.layers if layer.name.startswith("encode_")]
    encode = model.encoder.get_layer("encode")
    output = [layer for layer in model.decoder.layers if hasattr(layer, "activation")][-1]
    selections = {code: _selections_of(model.encoder, code) for code in level_names(len(hidden) + 1)}
    return {
        "name": model.name,
        "trainable": model.trainable,
        "input_shape": model.encoder.inputs[0].shape[1:],
        "sparsity": serialize_sparsity(selections, model.charges),
        "activation": keras.activations.serialize(encode.activation),
        "hidden_activation": [keras.activations.serialize(layer.activation) for layer in hidden],
        "output_activation": keras.activations.serialize(output.activation),
        "kernel_initializer": keras.initializers.serialize(encode.kernel_initializer),
        "corruption": keras.saving.serialize_keras_object(model.corruption),
        "dtype": keras.saving.serialize_keras_object(encode.dtype_policy),
    }


def _selections_of(encoder, code):
    """The selections that leave the code of that name: the layers before it, back to the one that computes."""
    names = [layer.name for layer in encoder.layers]
    begin = end = names.index(code)
    while not names[begin - 1].startswith(("encode", "pool")):
        begin -= 1
    return encoder.layers[begin:end]


def apply_constraints(*models):
    """Makes weights obey their constraints from the start, not from the first step on."""
    for model in models:
        for weight in model.trainable_weights:
            if weight.constraint is not None:
                weight.assign(weight.constraint(weight))


def copy_of(initializer):
    """Another initializer like this one: one object draws the same numbers twice."""
    return keras.initializers.get(keras.initializers.serialize(initializer))
