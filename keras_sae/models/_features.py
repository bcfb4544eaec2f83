"""What classifiers read of an autoencoder: its code, or an encoding of the output of any layer of its encoder."""

import keras

from keras_sae._checks import nearest
from keras_sae.layers import MirrorAverage
from keras_sae.models._sparsity import is_config, read_layers


def read_features(features, encoder):
    """The argument `features` as a dictionary from names of layers of the encoder to lists of layers, in the encoder's order.

    Args:
        features: None; a layer, a list of layers, or their Keras configs, which read the code; or a dictionary of these by the
            names of layers of the encoder, where "code" is its output.
        encoder: Functional model.
    """
    if features is None:
        return {}
    if is_config(features) or not isinstance(features, dict):
        features = {"code": features}
    names = [layer.name for layer in encoder.layers if not isinstance(layer, keras.layers.InputLayer)]
    if "code" in names:
        names.remove("code")
    names.append("code")
    for name in features:
        if name not in names:
            raise ValueError(
                '`features` names the layers of the encoder that classifiers read, or "code" for its output. '
                f"{nearest(name, names)}Received: {name!r}; the layers are {', '.join(names)}."
            )
    taken = {layer.name for layer in encoder.layers}
    return {name: read_layers("features", features[name], taken) for name in names if name in features}


def features_model(encoder, chosen):
    """The functional model from inputs to features, which shares the layers of the encoder.

    Args:
        encoder: Functional model.
        chosen: What `read_features` returns. Features of several layers are concatenated along the last axis.
    """
    read, images = [], encoder.inputs[0]
    for name, layers in chosen.items():
        outputs = encoder.outputs[0] if name == "code" else encoder.get_layer(name).output
        for layer in layers:
            if isinstance(layer, MirrorAverage):
                before = keras.Model(images, outputs, name=f"before_{layer.name}")
                outputs = [outputs, *(before(view) for view in layer.views(images))]
            outputs = layer(outputs)
            if getattr(layer, "data_format", None) == "channels_first":
                raise ValueError(
                    f"The layers of `features` read codes with channels last. Received: {layer.name!r} with "
                    'data_format="channels_first". Make it with data_format="channels_last".'
                )
        read.append(outputs)
    if len({tuple(outputs.shape[1:-1]) for outputs in read}) > 1:
        shapes = ", ".join(f"{name!r}: {tuple(outputs.shape)}" for name, outputs in zip(chosen, read, strict=True))
        raise ValueError(
            "`features` of several layers are concatenated along the last axis, so all other axes must agree. "
            f"Received: {shapes}. End each list with `keras.layers.Flatten()`."
        )
    outputs = keras.layers.Concatenate(name="features", dtype=read[0].dtype)(read) if len(read) > 1 else read[0]
    return keras.Model(images, outputs, name="features")


def features_config(chosen):
    """The argument `features` for the config of a model, where it is set."""
    if not chosen:
        return {}
    return {
        "features": {name: [keras.saving.serialize_keras_object(each) for each in layers] for name, layers in chosen.items()}
    }
