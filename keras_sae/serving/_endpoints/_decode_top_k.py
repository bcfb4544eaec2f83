from keras_sae.serving._endpoints._endpoint import Endpoint, as_float32


def decode_top_k(model, indices, values):
    return {"reconstructions": as_float32(model.decode_entries(values, indices))}


ENDPOINT = Endpoint(
    "decode_top_k",
    reads="entries",
    outputs=("reconstructions",),
    meaning="the reconstruction from entries of each code, such as `encode_top_k` returns; for wide codes of few entries",
    function=decode_top_k,
    fits=lambda model: model.has_entries,
)
