import contextlib
import contextvars

import keras
from keras import ops

from keras_sae._checks import KnownArguments

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


class TiedLayer(KnownArguments, keras.layers.Layer):
    """Base class of decoders that read the kernel of an encoding layer, `tied_to`.

    `trainable = False` freezes what the decoder computes with, the shared kernel and its own bias. The encoding layer's own
    bias goes on training. The kernel obeys the layer that was set last.
    """

    def __init__(self, tied_to, activation=None, use_bias=True, bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.tied_to = tied_to
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = keras.initializers.get(bias_initializer)
        if not self.trainable:
            TiedLayer.trainable.fset(self, False)  # the kernel too; on TensorFlow, setting a flag to what it is does nothing

    @property
    def trainable(self):
        """Whether the layer trains."""
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        # Keras would set all of `tied_to` too, so this puts its flags back. Only the kernel belongs to both layers.
        encode = self.tied_to
        flag, flags = encode.trainable, [(weight, weight.trainable) for weight in encode.weights]
        keras.layers.Layer.trainable.fset(self, value)
        encode.trainable = flag
        for weight, was in flags:
            weight.trainable = was
        for weight in self._kernel_weights():
            weight.trainable = bool(value) and flag

    @property
    def kernel_trains(self):
        """Whether the shared kernel trains."""
        return any(weight.trainable for weight in self._kernel_weights())

    def shared_kernel(self):
        """The kernel of `tied_to` as it computes with it: dequantised where it is quantised, with LoRA merged."""
        encode = self.tied_to
        mode = encode.quantization_mode
        if mode in (None, "float8"):
            return encode.kernel
        if mode not in ("int8", "int4"):
            raise ValueError(
                f"A {type(self).__name__} can read a kernel that is quantised to int8, int4 or float8. Received: "
                f"{encode.name!r}, quantised by {mode!r}."
            )
        kernel, adaptation = ops.cast(encode.kernel, "float32"), 0
        if encode.lora_enabled:
            product = ops.matmul(encode.lora_kernel_a, encode.lora_kernel_b)
            adaptation = (encode.lora_alpha / encode.lora_rank) * ops.cast(product, "float32")
            kernel = ops.round(kernel - adaptation)  # Keras adds it to the integers, before they are scaled
        if hasattr(encode, "g_idx"):  # int4, by blocks of inputs
            groups = ops.cast(encode.g_idx, "int32")
            zero = ops.cast(ops.take(encode.kernel_zero, groups, axis=0), "float32")
            kernel = (kernel - zero) * ops.take(encode.kernel_scale, groups, axis=0)
        else:
            kernel = kernel / ops.cast(encode.kernel_scale, "float32")
        return ops.cast(kernel + adaptation, self.compute_dtype)

    def _kernel_weights(self):
        """The weights that the shared kernel is made of and that can train."""
        if not self.tied_to.built or self.tied_to.quantization_mode not in (None, "float8"):
            return []
        if getattr(self.tied_to, "lora_enabled", False):
            return [self.tied_to.lora_kernel_a, self.tied_to.lora_kernel_b]
        return [self.tied_to.kernel]

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
