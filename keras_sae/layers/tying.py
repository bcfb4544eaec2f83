import contextlib
import contextvars

import keras

_encoding_layers = contextvars.ContextVar("encoding_layers", default=())


@contextlib.contextmanager
def tying_to(layers):
    """While a decoder is made from its config, ties its layers to those of `layers` that have the recorded names.

    A config describes `tied_to` by value, so that a decoder can be made from its config alone; whoever makes the encoder
    too must say that its layers are the ones meant.
    """
    token = _encoding_layers.set(tuple(layers))
    try:
        yield
    finally:
        _encoding_layers.reset(token)


def encoding_layer(config):
    """The layer that `config`, a serialized encoding layer, stands for: that of `tying_to` by its name, or else a new one."""
    name = config["config"]["name"]
    known = [layer for layer in _encoding_layers.get() if layer.name == name]
    return known[0] if known else keras.saving.deserialize_keras_object(config)
