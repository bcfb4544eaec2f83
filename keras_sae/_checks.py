"""Checks of arguments, and hints about misspelled names: one wording for the whole package."""

import difflib
import inspect
import math
import numbers
import operator


def check_integer(name, value, meaning, at_least=1, at_most=None):
    """The argument as an `int`, or a ValueError.

    Args:
        name: Name of the argument.
        value: What was passed. A bool is not an integer here; a NumPy integer is.
        meaning: What the argument means, after its name: "counts the active units".
        at_least, at_most: Bounds, both allowed values; None for no bound.
    """
    fits = not isinstance(value, bool) and hasattr(value, "__index__")
    if fits and (at_least is None or value >= at_least) and (at_most is None or value <= at_most):
        return operator.index(value)
    bounds = [f"at least {at_least}"] if at_least is not None else []
    bounds += [f"at most {at_most}"] if at_most is not None else []
    rule = f" of {' and '.join(bounds)}" if bounds else ""
    raise ValueError(f"`{name}` {meaning} and must be an integer{rule}. Received: {name}={value!r}.")


def check_number(name, value, meaning, at_least=None, above=None, at_most=None, below=None):
    """The argument as a `float`, or a ValueError. A number must be finite; a bool is not a number here.

    Args:
        name: Name of the argument.
        value: What was passed.
        meaning: What the argument means, after its name: "is the weight of the penalty".
        at_least, above, at_most, below: Bounds, None for no bound. `above` and `below` exclude the bound itself.
    """
    bounds = {
        "at least": (at_least, operator.ge),
        "above": (above, operator.gt),
        "at most": (at_most, operator.le),
        "below": (below, operator.lt),
    }
    bounds = {word: (bound, holds) for word, (bound, holds) in bounds.items() if bound is not None}
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if fits and all(holds(value, bound) for bound, holds in bounds.values()):
        return float(value)
    rule = " and ".join(f"{word} {bound:g}" for word, (bound, _) in bounds.items())
    raise ValueError(f"`{name}` {meaning} and must be a finite number{rule and ' ' + rule}. Received: {name}={value!r}.")


def check_flag(name, value, meaning):
    """The argument as a `bool`, or a ValueError. Text such as "no" would count as true elsewhere.

    Args:
        name: Name of the argument.
        value: What was passed.
        meaning: What the argument says, after its name: "says whether the decoder reads the kernels of the encoder".
    """
    if isinstance(value, str) or value not in (True, False):
        raise ValueError(f"`{name}` {meaning}: True or False. Received: {name}={value!r}.")
    return bool(value)


def nearest(name, known, cutoff=0.6):
    """A hint such as "Did you mean 'adam' or 'adamw'? ", or "" where nothing in `known` looks like `name`."""
    near = difflib.get_close_matches(str(name), [str(each) for each in known], n=3, cutoff=cutoff)
    return f"Did you mean {' or '.join(map(repr, near))}? " if near else ""


class KnownArguments:
    """Base of classes that refuse constructor arguments that they do not know, with the nearest name."""

    def __new__(cls, *args, **kwargs):
        maker = next(each for each in cls.__mro__ if "__init__" in vars(each))
        if maker.__module__.startswith("keras_sae."):  # constructors of users may take any argument
            _refuse_unknown(cls, kwargs)
        new = super().__new__
        return new(cls) if new is object.__new__ else new(cls, *args, **kwargs)


def _refuse_unknown(cls, arguments):
    known = []
    for each in cls.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = list(inspect.signature(each.__init__).parameters.values())[1:]
        known += [
            parameter.name
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    known = sorted(set(known))
    unknown = [name for name in arguments if name not in known and name not in _OF_KERAS]
    if unknown:
        name = unknown[0]
        raise TypeError(
            f"{cls.__name__} has no argument `{name}`. {nearest(name, known)}Its arguments are {', '.join(known)}. "
            f"Received: {name}={arguments[name]!r}."
        )


_OF_KERAS = ("input_shape", "input_dim", "batch_input_shape")  # layers read them without naming them
