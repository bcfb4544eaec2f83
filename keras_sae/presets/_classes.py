"""The classes that the config of a preset may name. Checked before Keras reads the config and imports modules named in it."""

import keras

# They run code from the config, or read files that it names.
_REFUSED = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__typespec__"}
_FUNCTIONS = {"activations", "initializers", "regularizers", "constraints", "losses", "metrics", "ops"}


def check_classes(config):
    """Refuses a config that names anything except classes of Keras and registered classes. Imports nothing.

    Args:
        config: A tree of dictionaries and lists, from `keras.saving.serialize_keras_object`.

    Raises:
        ValueError: The config does not describe an object, or names something that is not allowed.
    """
    if not (isinstance(config, dict) and isinstance(config.get("class_name"), str) and "config" in config):
        raise ValueError("it describes no object: a config has a `class_name` and a `config`.")
    open_nodes = [config]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, dict):
            if "class_name" in node:
                _check_class(node)
            open_nodes.extend(node.values())
        elif isinstance(node, list):
            open_nodes.extend(node)


def _check_class(node):
    name, module = node["class_name"], node.get("module")
    registered = node.get("registered_name", name)
    if name == "function":
        name = registered = node.get("config")
    if not all(isinstance(word, (str, type(None))) for word in (name, module, registered)):
        raise ValueError(f"it names {name!r} of {module!r}, but names must be strings.")
    if registered and keras.saving.get_registered_object(registered) is not None:
        return
    if name in _REFUSED:
        raise ValueError(f"it holds a {name}, which could run code from the config or read files that it names.")
    if module in (None, "builtins"):
        return  # Keras looks for such a name among its own classes, and imports nothing
    root, *inner = module.split(".")
    if root != "keras" or (node["class_name"] == "function" and not _FUNCTIONS & set(inner)):
        raise ValueError(f"it names {name!r} of the module {module!r}.")
