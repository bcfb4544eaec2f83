"""What signatures read: inputs of the encoder, codes whole or by their entries, and images in two forms."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Input:
    """The input of a signature.

    Attributes:
        name: Name in requests.
        shape, dtype: Of the tensor in a request; `shape` includes the batch axis.
        example: From an array of encoder inputs to an array of this input, for the golden examples.
        read: From the tensor in a request to the tensor that the endpoint's function takes.
    """

    name: str
    shape: tuple
    dtype: str
    example: Callable
    read: Callable = lambda tensor: tensor


def inputs_of(model):
    tensor = model.encoder.inputs[0]
    return Input("inputs", tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype), lambda inputs: inputs)


def codes_of(model):
    tensor = model.decoder.inputs[0]
    dtype = keras.backend.standardize_dtype(tensor.dtype)

    def example(inputs):
        return keras.ops.convert_to_numpy(keras.ops.cast(model.encoder(inputs, training=False), dtype))

    return Input("codes", tuple(tensor.shape), dtype, example)


def entries_of(model):
    """Indices and values of entries of a flattened code, as many of each code as the client sends."""

    def example(number):
        def of_inputs(inputs):
            values, indices, _ = model.encode_entries(inputs)
            return keras.ops.convert_to_numpy((indices, keras.ops.cast(values, "float32"))[number])

        return of_inputs

    return (
        Input("indices", (None, None), "int32", example(0)),
        Input("values", (None, None), "float32", example(1)),
    )


def images_of(model):
    """Pixels from 0 to 255, which the graph divides by 255."""
    import tensorflow as tf

    inputs = _check_images(inputs_of(model))
    return Input("images", inputs.shape, "uint8", _pixels, lambda images: tf.cast(images, inputs.dtype) / 255)


def image_bytes_of(model):
    """Encoded PNG or JPEG files, which the graph decodes."""
    import tensorflow as tf

    images = images_of(model)
    shape = images.shape[1:]

    def decode(data):
        image = tf.io.decode_image(data, channels=shape[-1], expand_animations=False)
        return tf.ensure_shape(image, shape)  # an image of another size is an error

    def read(image_bytes):
        return images.read(tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec(shape, "uint8")))

    def example(inputs):
        return np.array([tf.io.encode_png(image).numpy() for image in _pixels(inputs)], object)

    return Input("image_bytes", (None,), "string", example, read)


def _pixels(inputs):
    return np.round(np.clip(inputs, 0, 1) * 255).astype("uint8")


def _check_images(inputs):
    if len(inputs.shape) == 4 and inputs.shape[-1] in (1, 3, 4) and inputs.dtype.startswith("float"):
        return inputs
    raise ValueError(
        "`image_inputs` adds endpoints that read uint8 images and encoded PNG or JPEG files. The model must read "
        "floating-point images of shape (height, width, channels) with 1, 3 or 4 channels. "
        f"Received: a model whose inputs have the shape {inputs.shape[1:]} and are {inputs.dtype}. Leave `image_inputs` out."
    )
