"""Objects that a recipe names: `{class = "KSparse", k = 25}` is `KSparse(k=25)`."""

import inspect

import keras

from keras_sae import layers, models, regularizers
from keras_sae._checks import check_number, nearest

_SOURCES = {
    "model": [models],
    "sparsity": [layers, regularizers, keras.regularizers],
    "corruption": [layers, keras.layers],
    "preprocessing": [layers, keras.layers],
    "features": [layers, keras.layers],
    "kernel_initializer": [keras.initializers],
    "kernel_regularizer": [keras.regularizers],
    "optimizer": [keras.optimizers],
    "learning_rate": [keras.optimizers.schedules],
}


def make(role, description):
    """Creates the object that a recipe describes.

    Args:
        role: The key of the description in the recipe. It decides where the class is looked up.
        description: A dictionary with `class` and the arguments, which may be descriptions too; a list of descriptions; or a
            plain value, which is returned as it is.

    Raises:
        ValueError: A class or an argument is unknown. The message suggests similar names.
    """
    if isinstance(description, list) and role in _SOURCES:
        return [make(role, item) for item in description]
    if role == "learning_rate" and not isinstance(description, dict):
        return check_number(role, description, "is the size of the optimizer's steps", above=0)
    if not isinstance(description, dict):
        return description
    nested = all(isinstance(value, (dict, list)) for value in description.values())
    if role in ("sparsity", "features") and "class" not in description and nested:
        return {code: make(role, each) for code, each in description.items()}  # keys are names of codes
    if "class" not in description:
        raise ValueError(f"`{role}` must name its `class`. Received: {description}.")
    name = description["class"]
    choices = {
        public: value for source in _SOURCES.get(role, []) for public, value in vars(source).items() if inspect.isclass(value)
    }
    if name not in choices:
        raise ValueError(f"Unknown class for `{role}`: {name!r}. {near(name, choices)}")
    arguments = {key: make(key, value) for key, value in description.items() if key != "class"}
    known = _known(choices[name])
    for key in arguments:
        if known is not None and key not in known:
            raise ValueError(f"{name} has no argument {key!r}. {near(key, known)}")
    return choices[name](**arguments)


def centers_by_default(model):
    """Whether a model with this description centres if it does not say: where a selection makes the code, unpreprocessed."""
    return names_selection(model.get("sparsity")) and not model.get("preprocessing")


def _known(cls):
    """The arguments that a class takes: its own, and those of its bases where it hands on others. None where any may be."""
    known = []
    for each in cls.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = list(inspect.signature(each.__init__).parameters.values())[1:]
        known += [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
        if not cls.__module__.startswith(("keras_sae.", "keras.")):
            return None  # a user's class, which may take any argument and says itself what it refuses
    return known


def names_selection(description):
    """Whether a description, a list of them or a dictionary by code names a selection."""
    if isinstance(description, list):
        return any(map(names_selection, description))
    if not isinstance(description, dict):
        return False
    if "class" not in description:
        return any(map(names_selection, description.values()))
    found = getattr(layers, str(description["class"]), None)
    return inspect.isclass(found) and issubclass(found, layers.Selection)


def near(name, choices):
    """A hint with the choices that look like `name`, or else with all choices."""
    return nearest(name, choices).strip() or f"Expected one of: {', '.join(sorted(map(str, choices)))}."
