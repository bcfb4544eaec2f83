from keras_sae.serving._endpoints._endpoint import Endpoint, as_float32


def decode(model, codes):
    return {"reconstructions": as_float32(model.decoder(codes, training=False))}


ENDPOINT = Endpoint(
    "decode", reads="codes", outputs=("reconstructions",), meaning="the reconstruction from each code", function=decode
)
