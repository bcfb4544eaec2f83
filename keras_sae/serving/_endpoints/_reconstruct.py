from keras_sae.serving._endpoints._decode import decode
from keras_sae.serving._endpoints._endpoint import Endpoint, as_float32


def reconstruct(model, inputs):
    import tensorflow as tf

    def by_codes():
        return decode(model, model.encoder(inputs, training=False))

    entries = model.encode_entries(inputs)
    if entries is None:
        return by_codes()
    values, indices, doubtful = entries
    return tf.cond(doubtful, by_codes, lambda: {"reconstructions": as_float32(model.decode_entries(values, indices))})


ENDPOINT = Endpoint(
    "reconstruct",
    reads="inputs",
    outputs=("reconstructions",),
    meaning="the reconstruction of each sample",
    function=reconstruct,
)
