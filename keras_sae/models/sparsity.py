import keras

from keras_sae.regularizers import ActivityPenalty


def split_sparsity(sparsity):
    """Sorts what a user gave as `sparsity` into selections, in order of application, and penalties.

    Args:
        sparsity: None, a selection layer, a penalty (any `keras.Regularizer`), the Keras config of one, or a list of these.

    Returns:
        `(selections, penalties)`, two lists.
    """
    if sparsity is None:
        return [], []
    selections, penalties = [], []
    for mechanism in sparsity if isinstance(sparsity, (list, tuple)) else [sparsity]:
        if isinstance(mechanism, dict):
            mechanism = keras.saving.deserialize_keras_object(mechanism)
        if isinstance(mechanism, keras.layers.Layer):
            selections.append(mechanism)
        elif isinstance(mechanism, keras.regularizers.Regularizer):
            penalties.append(mechanism)
        else:
            raise TypeError(
                "`sparsity` must be a selection layer such as keras_sae.layers.KSparse(k=25), a penalty such as "
                "keras_sae.regularizers.ActivityKL(), the Keras config of one, or a list of these. "
                f"Received: {mechanism!r} of type {type(mechanism).__name__}."
            )
    return selections, penalties


def serialize_sparsity(selections, penalties):
    """The Keras configs that `split_sparsity` takes back, or None."""
    return [keras.saving.serialize_keras_object(mechanism) for mechanism in (*selections, *penalties)] or None


def resolve_activation(activation, mechanisms):
    """The activation function of the layer that makes a code.

    Where the user names none, it is the one that the first mechanism is defined for: sigmoid or tanh for a KL penalty,
    linear for KSparse; otherwise relu, which makes exact zeros. A penalty may refuse the activation with a ValueError.
    """
    if activation is None:
        wanted = (getattr(mechanism, "default_activation", None) for mechanism in mechanisms)
        activation = next(filter(None, wanted), "relu")
    activation = keras.activations.get(activation)
    for mechanism in mechanisms:
        if isinstance(mechanism, ActivityPenalty):
            mechanism.check_activation(activation)
    return activation
