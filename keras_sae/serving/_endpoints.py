"""The endpoints of an exported model: functions with named inputs and outputs, for batches of any size."""

import dataclasses
import math
import operator
from collections.abc import Callable

import keras

from keras_sae.layers import KSparse

TOP_K = 32  # of codes of which nobody knows how many entries are active


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A function of one named input.

    Attributes:
        input: Name of the input.
        shape, dtype: Of the input; `shape` has the batch axis.
        function: Of a tensor, to a dictionary of tensors.
    """

    input: str
    shape: tuple
    dtype: str
    function: Callable


def endpoints_of(model, top_k, image_inputs=False):
    """The endpoints of a model by name. See `keras_sae.serving.export`."""
    inputs, codes = model.encoder.inputs[0], model.decoder.inputs[0]
    shape, dtype = tuple(inputs.shape), keras.backend.standardize_dtype(inputs.dtype)

    def encode(tensor):
        return {"codes": _served(model.encoder(tensor, training=False))}

    def encode_top_k(tensor):
        return _strongest(encode(tensor)["codes"], top_k)

    def decode(tensor):
        return {"reconstructions": _served(model.decoder(tensor, training=False))}

    def reconstruct(tensor):
        return decode(model.encoder(tensor, training=False))

    def anomaly_score(tensor):
        return {"scores": _mean_squared_error(tensor, reconstruct(tensor)["reconstructions"])}

    of_inputs = {"encode": encode, "encode_top_k": encode_top_k, "reconstruct": reconstruct}
    if shape == tuple(model.decoder.outputs[0].shape):  # else there is no error to speak of
        of_inputs["anomaly_score"] = anomaly_score
    endpoints = {
        name: Endpoint("inputs", shape, dtype, function) for name, function in {"serving_default": encode, **of_inputs}.items()
    }
    endpoints["decode"] = Endpoint("codes", tuple(codes.shape), keras.backend.standardize_dtype(codes.dtype), decode)
    if image_inputs:
        _check_images(shape, dtype)
        for name, function in of_inputs.items():
            endpoints[f"{name}_images"] = Endpoint("images", shape, "uint8", _of_images(function, dtype))
            endpoints[f"{name}_image_bytes"] = Endpoint("image_bytes", (None,), "string", _of_bytes(function, shape[1:], dtype))
    return endpoints


def check_top_k(model, top_k):
    """How many entries `encode_top_k` gives, after checking what was asked for."""
    shape = model.encoder.outputs[0].shape[1:]
    width = math.prod(size or 1 for size in shape)  # maps of any size have at least one position
    if top_k is None:
        return min(_active(model) or TOP_K, width)
    try:
        asked = operator.index(top_k)
    except TypeError:
        asked = 0
    if isinstance(top_k, bool) or not 1 <= asked <= width:
        raise ValueError(
            "`top_k` is how many of the strongest entries of a code the endpoint `encode_top_k` gives, and must be an integer "
            f"between 1 and the width of the code, {width} here. Received: top_k={top_k!r}."
        )
    return asked


def _active(model):
    """How many entries of a code the `KSparse` that ends the encoder leaves; None where none does, or sizes are unknown."""
    last = next(layer for layer in reversed(model.encoder.layers) if not isinstance(layer, keras.layers.Identity))
    shape = model.encoder.outputs[0].shape[1:]
    if not isinstance(last, KSparse) or None in shape:
        return None
    return last.kept * {"units": math.prod(shape[:-1]), "positions": shape[-1], "all": 1}[last.across]


def _served(tensor):
    """Half precision is the model's own affair: what leaves an endpoint is float32 at least."""
    return keras.ops.cast(tensor, "float32") if tensor.dtype in ("float16", "bfloat16") else tensor


def _mean_squared_error(inputs, outputs):
    import tensorflow as tf

    return tf.reduce_mean(tf.square(tf.cast(inputs, outputs.dtype) - outputs), axis=list(range(1, len(inputs.shape))))


def _strongest(codes, top_k):
    import tensorflow as tf

    # The width is not left to TensorFlow as -1, which says nothing where there are no samples.
    width = tf.reduce_prod(tf.shape(codes)[1:]) if None in codes.shape[1:] else math.prod(codes.shape[1:])
    flat = tf.reshape(codes, (tf.shape(codes)[0], width))
    # A NaN counts as strongest, so that it does not hide.
    strength = tf.where(tf.math.is_nan(flat), tf.cast(float("inf"), flat.dtype), tf.abs(flat))
    indices = tf.math.top_k(strength, top_k).indices  # (batch, top_k), the strongest first
    return {"indices": indices, "values": tf.gather(flat, indices, batch_dims=1)}


def _check_images(shape, dtype):
    if len(shape) != 4 or shape[-1] not in (1, 3, 4) or not dtype.startswith("float"):
        raise ValueError(
            "`image_inputs` adds endpoints that read uint8 images and encoded PNG or JPEG files. That takes a model of "
            "floating-point images, whose inputs have the shape (height, width, channels) with 1, 3 or 4 channels. "
            f"Received: a model whose inputs have the shape {shape[1:]} and are {dtype}. Leave `image_inputs` out."
        )


def _of_images(function, dtype):
    import tensorflow as tf

    return lambda images: function(tf.cast(images, dtype) / 255)


def _of_bytes(function, shape, dtype):
    import tensorflow as tf

    def decoded(data):
        image = tf.io.decode_image(data, channels=shape[-1], expand_animations=False)
        return tf.ensure_shape(image, shape)  # an image of another size is an error

    def of_bytes(image_bytes):
        return of_images(tf.map_fn(decoded, image_bytes, fn_output_signature=tf.TensorSpec(shape, "uint8")))

    of_images = _of_images(function, dtype)
    return of_bytes
