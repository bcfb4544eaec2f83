from keras_sae.serving._endpoints._endpoint import Endpoint
from keras_sae.serving._endpoints._reconstruct import reconstruct


def anomaly_score(model, inputs):
    import tensorflow as tf

    outputs = reconstruct(model, inputs)["reconstructions"]
    target = inputs if model.preprocessing is None else model.preprocessing(inputs, training=False)
    errors = tf.square(tf.cast(target, outputs.dtype) - outputs)
    return {"scores": tf.reduce_mean(errors, axis=list(range(1, len(outputs.shape))))}


def _fits(model):
    target = model.encoder.inputs[0] if model.preprocessing is None else model.preprocessing.outputs[0]
    return tuple(target.shape) == tuple(model.decoder.outputs[0].shape)


ENDPOINT = Endpoint(
    "anomaly_score",
    reads="inputs",
    outputs=("scores",),
    meaning="the mean squared error of each reconstruction",
    function=anomaly_score,
    fits=_fits,
)
