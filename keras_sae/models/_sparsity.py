import keras

from keras_sae.regularizers import ActivityPenalty


def split_sparsity(sparsity):
    """Sorts what a user gave as `sparsity` into selections of the code and penalties.

    Args:
        sparsity: None, a selection layer, a penalty (any `keras.Regularizer`), the Keras config of one, or a list of these;
            or a dictionary of such from the names of codes, in which "code" is what the decoder reads.

    Returns:
        `(selections, charges)`: the selections of the code, in order of application; and pairs of the name of a code and a
        penalty on it.
    """
    selections, charges = _sort(sparsity)
    for code in selections:
        if code != "code" and selections[code]:
            raise ValueError(
                "A selection is a layer, and stands in the encoder where it selects; `sparsity` can only append it at "
                f"the end, to the code. Received: {type(selections[code][0]).__name__} for {code!r}."
            )
    return selections.get("code", []), charges


def split_levels(sparsity, levels):
    """Sorts a `sparsity` of several levels, each of which may have selections.

    Args:
        sparsity: As for `split_sparsity`.
        levels: The names of the levels, of which the last is "code".

    Returns:
        `(selections, charges)`: a dictionary of lists, from the name of each level; and pairs of a name and a penalty.
    """
    selections, charges = _sort(sparsity)
    unknown = sorted(code for code in selections if selections[code] and code not in levels)
    if unknown:
        raise ValueError(
            "A selection is a layer, and stands in the encoder where it selects: at the end of a level. `sparsity` may name "
            f"{', '.join(levels)}. Received: {', '.join(map(repr, unknown))}."
        )
    return {level: selections.get(level, []) for level in levels}, charges


def _sort(sparsity):
    """Selections by the name of the code, and charges."""
    if _is_config(sparsity) or not isinstance(sparsity, dict):
        sparsity = {"code": sparsity}
    selections, charges = {}, []
    # In an order of its own, whatever that of the dictionary: weights that belong to penalties are saved by their place.
    for code in sorted(sparsity, key=lambda name: (name == "code", name)):
        selections[code] = []
        mechanisms = sparsity[code]
        for mechanism in mechanisms if isinstance(mechanisms, (list, tuple)) else [mechanisms]:
            if _is_config(mechanism):
                mechanism = keras.saving.deserialize_keras_object(mechanism)
            if isinstance(mechanism, keras.regularizers.Regularizer):
                charges.append((code, mechanism))
            elif isinstance(mechanism, keras.layers.Layer):
                selections[code].append(mechanism)
            elif mechanism is not None:
                raise TypeError(
                    "`sparsity` must be a selection layer such as keras_sae.layers.KSparse(k=25), a penalty such as "
                    "keras_sae.regularizers.ActivityKL(), the Keras config of one, a list of these, or a dictionary of them "
                    f"by the names of codes. Received: {mechanism!r} of type {type(mechanism).__name__}."
                )
    return selections, charges


def _is_config(sparsity):
    return isinstance(sparsity, dict) and "class_name" in sparsity and "config" in sparsity


def join_sparsity(selections, charges):
    """The `sparsity` that is sorted into these: a list, or a dictionary where there is more than the code.

    Args:
        selections: List of the selections of the code, or a dictionary of lists by level.
        charges: Pairs of the name of a code and a penalty on it.
    """
    joined = {"code": []}
    for code, several in (selections if isinstance(selections, dict) else {"code": selections}).items():
        if several:
            joined[code] = list(several)
    for code, penalty in charges:
        joined.setdefault(code, []).append(penalty)
    return joined if len(joined) > 1 else joined["code"]


def serialize_sparsity(selections, charges):
    """The Keras configs of `join_sparsity`, or None where there are none."""
    joined = join_sparsity(selections, charges)
    if isinstance(joined, dict):
        return {code: [keras.saving.serialize_keras_object(one) for one in several] for code, several in joined.items()}
    return [keras.saving.serialize_keras_object(mechanism) for mechanism in joined] or None


def by_level(sparsity, levels):
    """A `sparsity` of several levels, by level: what names no level is given to each, to all but the last as a copy.

    Args:
        sparsity: As for `split_levels`.
        levels: The names of the levels.
    """
    if isinstance(sparsity, dict) and not _is_config(sparsity):
        return sparsity
    mechanisms = sparsity if isinstance(sparsity, (list, tuple)) else [sparsity]
    return {**{level: [_copy(mechanism) for mechanism in mechanisms] for level in levels[:-1]}, levels[-1]: sparsity}


def _copy(mechanism):
    if _is_config(mechanism):
        mechanism = keras.saving.deserialize_keras_object(mechanism)
    if isinstance(mechanism, keras.layers.Layer):
        config = mechanism.get_config()
        config.pop("name", None)  # which is another layer's already
        return type(mechanism).from_config(config)
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mechanism))


def penalties_of(code, charges):
    """The penalties on the code of that name."""
    return [penalty for name, penalty in charges if name == code]


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
