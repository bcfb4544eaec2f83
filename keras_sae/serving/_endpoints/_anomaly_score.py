from keras_sae.serving._endpoints._endpoint import Endpoint
from keras_sae.serving._endpoints._reconstruct import reconstruct


def anomaly_score(model, inputs):
    import tensorflow as tf

    outputs = reconstruct(model, inputs)["reconstructions"]
    errors = tf.square(tf.cast(inputs, outputs.dtype) - outputs)
    return {"scores": tf.reduce_mean(errors, axis=list(range(1, len(inputs.shape))))}


ENDPOINT = Endpoint(
    "anomaly_score",
    reads="inputs",
    outputs=("scores",),
    meaning="the mean squared error of each reconstruction",
    function=anomaly_score,
    fits=lambda model: tuple(model.encoder.inputs[0].shape) == tuple(model.decoder.outputs[0].shape),
)
