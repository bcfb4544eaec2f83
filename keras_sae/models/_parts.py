"""What an autoencoder is put together from: models and layers, or their configs."""

import keras


def as_layer(corruption):
    if isinstance(corruption, dict):
        corruption = keras.saving.deserialize_keras_object(corruption)
    if corruption is not None and not isinstance(corruption, keras.layers.Layer):
        raise TypeError(
            "`corruption` must be a layer such as keras_sae.layers.MaskingNoise(0.3) or keras.layers.GaussianNoise(0.1). "
            f"Received: corruption={corruption!r} of type {type(corruption).__name__}."
        )
    return corruption


def as_model(model, role):
    if isinstance(model, dict):
        model = keras.saving.deserialize_keras_object(model)
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`{role}` must be a keras.Model. Received: {role}={model!r} of type {type(model).__name__}. "
            "Wrap layers in keras.Sequential([keras.Input(shape), ...])."
        )
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        inputs = outputs = None
    if not inputs or len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"`{role}` must be a functional or Sequential model with one known input and one output, so that it can be "
            f"tapped and exported. Received: {role}={model!r}. Begin it with keras.Input(shape)."
        )
    return model
