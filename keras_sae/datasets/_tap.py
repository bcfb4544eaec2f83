"""Reads what layers of a Keras model compute, also inside nested and subclassed models."""

import contextlib

import keras

from keras_sae._checks import nearest


class Tap(keras.Model):
    """Runs a model at inference and returns what some of its layers computed, a list of tensors.

    Args:
        model: Any Keras model.
        layers: List of layers of it.
    """

    def __init__(self, model, layers):
        super().__init__()
        self.model = model
        self.read = layers
        self.built = True

    def call(self, inputs):
        seen = [[] for _ in self.read]
        with contextlib.ExitStack() as stack:
            for layer, outputs in zip(self.read, seen, strict=True):
                stack.enter_context(_recorded(layer, outputs))
            self.model(inputs, training=False)
        for layer, outputs in zip(self.read, seen, strict=True):
            if len(outputs) != 1:
                calls = "not called" if not outputs else f"called {len(outputs)} times"
                raise ValueError(
                    f"`layer` names layers that the model calls once for a batch. {layer.name!r} is {calls} at inference. "
                    f"{'Read a layer that it is made of, or the layer around it.' if outputs else 'Read another layer.'}"
                )
        return [_tensor(layer, outputs[0]) for layer, outputs in zip(self.read, seen, strict=True)]


@contextlib.contextmanager
def _recorded(layer, outputs):
    """Appends what the layer returns to a list. Keras looks `call` up on the layer, so an attribute of it comes first."""
    name = "quantized_call" if getattr(layer, "quantization_mode", None) else "call"
    call = getattr(layer, name)

    def recording(*args, **kwargs):
        result = call(*args, **kwargs)
        outputs.append(result)
        return result

    object.__setattr__(layer, name, recording)
    try:
        yield
    finally:
        object.__delattr__(layer, name)


def _tensor(layer, output):
    tensors = keras.tree.flatten(output)
    if len(tensors) != 1:
        raise ValueError(
            f"`layer` names layers with one output. Received: {layer.name!r}, which has {len(tensors)}. Read a layer that it "
            "is made of."
        )
    return tensors[0]


def find_layers(model, wanted):
    """The layers of a model, a dictionary by the names they were asked for.

    Args:
        model: A Keras model.
        wanted: Name of a layer, a layer, or a list of these. Inside a nested model, a name or a path such as "backbone/pool".
    """
    known = {}
    for path, layer in _paths(model):
        for name in (path, layer.name):
            known.setdefault(name, []).append(layer)
    result = {}
    for each in wanted if isinstance(wanted, list | tuple) else [wanted]:
        if isinstance(each, keras.layers.Layer):
            result[each.name] = each
            continue
        found = list({id(layer): layer for layer in known.get(each, ())}.values())
        if len(found) != 1:
            paths = [path for path, layer in _paths(model) if any(layer is other for other in found)]
            raise ValueError(
                f"The model has {len(found)} layers named {each!r}: {', '.join(paths)}. Give the path of one, or the layer."
                if found
                else f"The model {model.name!r} has no layer {each!r}. {nearest(each, known)}Its layers are "
                f"{', '.join(layer.name for layer in model.layers)}."
            )
        result[each] = found[0]
    return result


def _paths(layer, above=()):
    """Pairs of a path and a layer, of all layers in a model and in the models inside it."""
    for inner in getattr(layer, "layers", ()):
        path = (*above, inner.name)
        yield "/".join(path), inner
        yield from _paths(inner, path)
