from keras_sae.serving._endpoints._endpoint import Endpoint, as_float32


def encode(model, inputs):
    return {"codes": as_float32(model.encoder(inputs, training=False))}


ENDPOINT = Endpoint("encode", reads="inputs", outputs=("codes",), meaning="the code of each sample", function=encode)
