"""What makes the code of an autoencoder and what reads it. No other module looks for these among layers."""

import math

import keras

from keras_sae.layers import Selection


def append_selections(code, selections, name="code"):
    """Applies the selections to the symbolic tensor `code`, and names the result."""
    for selection in selections:
        code = selection(code)
    return keras.layers.Identity(name=name, dtype=code.dtype)(code)


def check_name_is_free(encoder):
    if "code" in [layer.name for layer in encoder.layers]:
        raise ValueError(
            'The layer of the encoder named "code" needs another name: with a selection in `sparsity`, "code" is the output '
            "of the selection."
        )


def codes_of(encoder, names):
    """Symbolic codes by name: the outputs of layers of the encoder, and "code", its own output."""
    codes = {}
    for name in names:
        if name != "code" and name not in [layer.name for layer in encoder.layers]:
            raise ValueError(
                '`sparsity` names the codes that penalties charge: layers of the encoder, or "code" for its own output. '
                f"Received: {name!r}; the layers are {', '.join(layer.name for layer in encoder.layers)}."
            )
        if name != "code":
            codes[name] = encoder.get_layer(name).output
    return {**codes, "code": encoder.outputs[0]}


def activation_of(encoder):
    """The activation of the layer that makes the code; "sigmoid", which no penalty refuses, where it is not known."""
    for layer in reversed(encoder.layers):
        if hasattr(layer, "activation"):
            return layer.activation
        if not isinstance(layer, keras.layers.Identity | Selection):
            break
    return "sigmoid"


def gives_exact_zeros(encoder):
    """Whether silent units are exactly zero at inference."""
    for layer in reversed(encoder.layers):
        if getattr(layer, "exact_zeros", False):
            return True
        if hasattr(layer, "activation"):
            return layer.activation is keras.activations.relu
    return False


def count_active(encoder):
    """How many entries of a sample's code stay at inference, or None where that depends on the sample."""
    shape = encoder.outputs[0].shape[1:]
    last = next((layer for layer in reversed(encoder.layers) if not isinstance(layer, keras.layers.Identity)), None)
    if not isinstance(last, Selection) or last.kept is None or None in shape:
        return None
    return last.kept * math.prod(shape) // last.competitors


def layers_around(encoder, decoder):
    """The layer whose kernel makes the code, and the one that reads it by a kernel, own or tied; None where there is none."""
    encode = next((layer for layer in reversed(encoder.layers) if hasattr(layer, "kernel")), None)
    decode = next((layer for layer in decoder.layers if hasattr(layer, "kernel") or hasattr(layer, "tied_to")), None)
    makes_code = encode is not None and encode.kernel.shape[-1] == encoder.outputs[0].shape[-1]
    return encode if makes_code else None, decode
