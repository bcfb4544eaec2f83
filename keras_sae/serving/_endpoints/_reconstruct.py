from keras_sae.serving._endpoints._decode import decode
from keras_sae.serving._endpoints._endpoint import Endpoint


def reconstruct(model, inputs):
    return decode(model, model.encoder(inputs, training=False))


ENDPOINT = Endpoint(
    "reconstruct",
    reads="inputs",
    outputs=("reconstructions",),
    meaning="the reconstruction of each sample",
    function=reconstruct,
)
