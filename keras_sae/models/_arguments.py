"""Constructor arguments of models. Keras ignores those of a functional model that it does not know."""

import inspect

from keras_sae._checks import check_flag, nearest


def refuse_unknown(cls, left):
    """Raises TypeError for arguments that no constructor took.

    Args:
        cls: The class of the model.
        left: Dictionary of the arguments that are left for Keras, which acts on `trainable` alone.
    """
    unknown = [name for name in left if name != "trainable"]
    if not unknown:
        return
    known = ["trainable"]
    for each in cls.__mro__:
        if "__init__" in vars(each):
            parameters = list(inspect.signature(each).parameters.values())
            known += [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
            if each.__module__.startswith("keras_sae."):
                break  # it makes the arguments of the classes below itself
    name = unknown[0]
    raise TypeError(
        f"{cls.__name__} has no argument `{name}`. {nearest(name, known)}Its arguments are {', '.join(sorted(set(known)))}. "
        f"Received: {name}={left[name]!r}."
    )


def check_options(tied, unit_norm):
    """The arguments `tied` and `unit_norm` of an architecture as booleans, or a ValueError."""
    tied = check_flag("tied", tied, "says whether the decoder reads the kernels of the encoder")
    return tied, check_flag("unit_norm", unit_norm, "says whether the weights that decode a unit are kept at norm 1")
