from keras_sae.serving._endpoints._endpoint import Endpoint


def detect(model, inputs, detector):
    outputs = detector(inputs, training=False)
    return {name: outputs[name] for name in ("scores", "is_anomalous", "threshold")}


ENDPOINT = Endpoint(
    "detect",
    reads="inputs",
    outputs=("scores", "is_anomalous", "threshold"),
    meaning="the score of each sample, whether it is above the threshold, and the threshold; with a detector only",
    function=detect,
    options=("detector",),
)
