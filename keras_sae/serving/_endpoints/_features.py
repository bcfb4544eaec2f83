from keras_sae.serving._endpoints._endpoint import Endpoint, as_float32


def features(model, inputs):
    return {"features": as_float32(model.features(inputs, training=False))}


ENDPOINT = Endpoint(
    "features",
    reads="inputs",
    outputs=("features",),
    meaning="what a classifier should read of each sample: its code, unless the model has other `features`",
    function=features,
)
