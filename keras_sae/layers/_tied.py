import contextlib
import contextvars

import keras

_encoding_layers = contextvars.ContextVar("encoding_layers", default=())


@contextlib.contextmanager
def tying_to(layers):
    """While a decoder is made from its config, ties it to these layers by name.

    A config describes `tied_to` by value, so a decoder can be made from its config alone. Whoever makes the encoder too says
    here that its layers are meant.
    """
    token = _encoding_layers.set(tuple(layers))
    try:
        yield
    finally:
        _encoding_layers.reset(token)


class TiedLayer(keras.layers.Layer):
    """Base class of decoders that read the kernel of an encoding layer, `tied_to`."""

    def __init__(self, tied_to, activation=None, use_bias=True, bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.tied_to = tied_to
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def get_config(self):
        return {
            **super().get_config(),
            "tied_to": keras.saving.serialize_keras_object(self.tied_to),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "tied_to": encoding_layer(config["tied_to"])})


def encoding_layer(config):
    """The layer that a serialized encoding layer stands for: the one of this name in `tying_to`, or else a new one."""
    name = config["config"]["name"]
    known = [layer for layer in _encoding_layers.get() if layer.name == name]
    return known[0] if known else keras.saving.deserialize_keras_object(config)
