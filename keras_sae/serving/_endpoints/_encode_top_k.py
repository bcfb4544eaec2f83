import math

from keras_sae._checks import check_integer
from keras_sae.serving._endpoints._encode import encode
from keras_sae.serving._endpoints._endpoint import Endpoint, as_float32

TOP_K = 32  # entries returned from codes whose number of active entries is unknown


def encode_top_k(model, inputs, top_k):
    import tensorflow as tf

    entries = model.encode_entries(inputs, top_k)
    if entries is None or entries[0].shape[1] < top_k:
        return _strongest(encode(model, inputs)["codes"], top_k)
    values, indices, doubtful = entries
    return tf.cond(
        doubtful,
        lambda: _strongest(encode(model, inputs)["codes"], top_k),
        lambda: _strongest_entries(as_float32(values), indices, top_k),
    )


def _strongest(codes, top_k):
    import tensorflow as tf

    # With a width of -1, `tf.reshape` fails on an empty batch.
    width = tf.reduce_prod(tf.shape(codes)[1:]) if None in codes.shape[1:] else math.prod(codes.shape[1:])
    flat = tf.reshape(codes, (tf.shape(codes)[0], width))
    # A NaN counts as the strongest entry, so that clients see it.
    strength = tf.where(tf.math.is_nan(flat), tf.cast(float("inf"), flat.dtype), tf.abs(flat))
    indices = tf.math.top_k(strength, top_k).indices  # (batch, top_k), strongest first
    return {"indices": indices, "values": tf.gather(flat, indices, batch_dims=1)}


def _strongest_entries(values, indices, top_k):
    """What `_strongest` gives for a code that has these entries and zeros elsewhere."""
    import tensorflow as tf

    order = tf.math.top_k(tf.abs(values), top_k).indices
    return {"indices": tf.gather(indices, order, batch_dims=1), "values": tf.gather(values, order, batch_dims=1)}


def check_top_k(model, top_k):
    """Checks the argument `top_k`, or chooses it where it is None."""
    shape = model.encoder.outputs[0].shape[1:]
    width = math.prod(size or 1 for size in shape)  # maps of unknown size have at least one position
    if top_k is None:
        return min(model.active_entries or TOP_K, width)
    meaning = f"is the number of entries that `encode_top_k` returns from each code, whose width is {width} here,"
    return check_integer("top_k", top_k, meaning, at_most=width)


ENDPOINT = Endpoint(
    "encode_top_k",
    reads="inputs",
    outputs=("indices", "values"),
    meaning="the entries of each code with the largest magnitude, largest first",
    function=encode_top_k,
    options=("top_k",),
    indices_of="encode",
)
