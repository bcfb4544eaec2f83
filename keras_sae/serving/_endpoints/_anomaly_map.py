from keras_sae.serving._endpoints._endpoint import Endpoint


def anomaly_map(model, inputs, detector):
    return {"maps": detector(inputs, training=False)["maps"]}


ENDPOINT = Endpoint(
    "anomaly_map",
    reads="inputs",
    outputs=("maps",),
    meaning="where each sample is anomalous: its smoothed squared errors; with a detector only",
    function=anomaly_map,
    options=("detector",),
    fits=lambda model: tuple(model.encoder.inputs[0].shape) == tuple(model.decoder.outputs[0].shape),
)
