"""Reads what an autoencoder is made from: `sparsity`, models and layers, or their Keras configs."""

import copy
import weakref

import keras

from keras_sae.regularizers import ActivityPenalty

_EXAMPLES = {"features": "SoftThreshold(0.5)", "preprocessing": "ContrastNormalization()"}

# The penalties that models charge, by their ids. They need not be hashable.
_charged = weakref.WeakValueDictionary()


def read_sparsity(sparsity, levels=("code",), taken=()):
    """Sorts the argument `sparsity` into selections and penalties.

    A mechanism belongs to one model, and to one place in it. An object that has its place already is copied.

    Args:
        sparsity: None, a selection layer, a penalty (any `keras.Regularizer`), the Keras config of one, or a list of these;
            or a dictionary of such by the names of codes, where "code" is what the decoder reads.
        levels: The codes that may have selections.
        taken: Names of layers that the encoder has already. No copy gets one of them.

    Returns:
        Two dictionaries of lists by the names of codes: the selections of each of `levels`, in order of application; and
        the penalties of the codes that have some.
    """
    if is_config(sparsity) or not isinstance(sparsity, dict):
        sparsity = {"code": sparsity}
    selections, penalties = {level: [] for level in levels}, {}
    placed, taken = [], set(taken)
    # Sorted, whatever the order of the dictionary: weights that belong to penalties are saved by their place.
    for code in sorted(sparsity, key=lambda name: (name == "code", name)):
        mechanisms = sparsity[code]
        for mechanism in mechanisms if isinstance(mechanisms, (list, tuple)) else [mechanisms]:
            mechanism = _from_config(mechanism)
            if _has_a_place(mechanism) or any(mechanism is other for other in placed):
                mechanism = _copy(mechanism, taken)
            placed += [] if mechanism is None else [mechanism]
            taken.add(getattr(mechanism, "name", None))
            if isinstance(mechanism, keras.regularizers.Regularizer):
                penalties.setdefault(code, []).append(mechanism)
            elif isinstance(mechanism, keras.layers.Layer):
                if code not in levels:
                    raise ValueError(
                        f"A selection is a layer at the end of a level: {', '.join(levels)}. To select elsewhere, build an "
                        f"encoder that has the layer. Received: {type(mechanism).__name__} for {code!r}."
                    )
                selections[code].append(mechanism)
            elif mechanism is not None:
                raise TypeError(
                    "`sparsity` must be a selection layer such as keras_sae.layers.KSparse(k=25), a penalty such as "
                    "keras_sae.regularizers.ActivityKL(), the Keras config of one, a list of these, or a dictionary of them "
                    f"by the names of codes. Received: {mechanism!r} of type {type(mechanism).__name__}."
                )
    return selections, penalties


def serialize_sparsity(selections, penalties):
    """The Keras configs of what `read_sparsity` returns: a list, a dictionary where there is more than "code", or None."""
    configs = {}
    for code in ("code", *selections, *penalties):
        mechanisms = [*selections.get(code, ()), *penalties.get(code, ())]
        if mechanisms or code == "code":
            configs[code] = [keras.saving.serialize_keras_object(mechanism) for mechanism in mechanisms]
    return configs if len(configs) > 1 else configs["code"] or None


def by_level(sparsity, levels):
    """The argument `sparsity` of a stack as a dictionary: mechanisms that name no level go to each, as copies.

    Args:
        sparsity: As for `read_sparsity`.
        levels: The names of the levels. The last is given the mechanisms themselves.
    """
    if isinstance(sparsity, dict) and not is_config(sparsity):
        return sparsity
    mechanisms = sparsity if isinstance(sparsity, (list, tuple)) else [sparsity]
    return {**{level: [_copy(mechanism) for mechanism in mechanisms] for level in levels[:-1]}, levels[-1]: sparsity}


def resolve_activation(activation, mechanisms):
    """The activation function of the layer that makes a code.

    Where the user names none, it is the one that the first mechanism is defined for: sigmoid or tanh for a KL penalty,
    linear for KSparse. Otherwise it is relu, which makes exact zeros. A penalty may refuse the activation with a ValueError.
    """
    if activation is None:
        wanted = (getattr(mechanism, "default_activation", None) for mechanism in mechanisms)
        activation = next(filter(None, wanted), "relu")
    activation = keras.activations.get(activation)
    for mechanism in mechanisms:
        if isinstance(mechanism, ActivityPenalty):
            mechanism.check_activation(activation)
    return activation


def read_corruption(corruption):
    """The argument `corruption` as a layer, or None."""
    corruption = _from_config(corruption)
    if corruption is not None and isinstance(corruption, keras.layers.Layer) and corruption.built:
        corruption = _copy(corruption, taken=())
    if corruption is not None and not isinstance(corruption, keras.layers.Layer):
        raise TypeError(
            "`corruption` must be a layer such as keras_sae.layers.MaskingNoise(0.3) or keras.layers.GaussianNoise(0.1). "
            f"Received: corruption={corruption!r} of type {type(corruption).__name__}."
        )
    return corruption


def read_model(model, role):
    """The argument `encoder` or `decoder` as a functional model."""
    model = _from_config(model)
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
            f"`{role}` must be a functional or Sequential model with one known input and one output, because its layers are "
            f"read and exported. Received: {role}={model!r}. Begin it with keras.Input(shape)."
        )
    return model


def read_layers(name, value, taken=()):
    """The argument `name`, a layer, a list of layers, or their Keras configs, as a list of layers. Built ones are copied.

    Args:
        taken: Names that no layer gets. Those of the result are unique too.
    """
    layers, taken = [], set(taken)
    for given in value if isinstance(value, (list, tuple)) else [] if value is None else [value]:
        layer = _from_config(given)
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(
                f"`{name}` lists layers, such as keras_sae.layers.{_EXAMPLES[name]}, or their Keras configs. "
                f"Received: {layer!r} of type {type(layer).__name__}."
            )
        # A model, such as the `features` of another autoencoder, keeps its weights.
        if not isinstance(layer, keras.Model) and (layer.built or layer.name in taken):
            layer = _copy(layer, taken)
        layers.append(layer)
        taken.add(layer.name)
    return layers


def is_config(value):
    return isinstance(value, dict) and "class_name" in value and "config" in value


def _from_config(value):
    return keras.saving.deserialize_keras_object(value) if is_config(value) else value


def mark_charged(penalties):
    """Notes that a model charges these penalties, so that another model copies them."""
    for penalty in penalties:
        _charged[id(penalty)] = penalty


def _has_a_place(mechanism):
    """Whether a model uses this layer or penalty already, or the layer was built for a code of its own."""
    if isinstance(mechanism, keras.layers.Layer):
        return mechanism.built
    return _charged.get(id(mechanism)) is mechanism and mechanism is not None


def _copy(mechanism, taken=None):
    """A new mechanism of the same class and config. A layer gets a new name where `taken` holds its name, or is None."""
    mechanism = _from_config(mechanism)
    if not isinstance(mechanism, keras.layers.Layer | keras.regularizers.Regularizer):
        return mechanism  # None, or what is refused later
    try:
        config = mechanism.get_config()
    except NotImplementedError:  # a penalty of the user's own that cannot be saved
        return copy.copy(mechanism)
    if isinstance(mechanism, keras.layers.Layer) and (taken is None or mechanism.name in taken):
        config.pop("name", None)  # names are unique in a model
    return type(mechanism).from_config(config)
