"""Checks `models.config`, the file that tells TF Serving which models and versions to load."""

import json
from pathlib import PurePosixPath

from keras_sae.serving._assets import EXTRA
from keras_sae.serving._messages import read_model_config
from keras_sae.serving._versions import folders_in

CONFIG = "models.config"


def check_server_config(directory):
    """Raises RuntimeError if a server with `models.config` in `directory` would not serve the model there as the file says."""
    file = directory / CONFIG
    if not file.is_file():
        raise RuntimeError(f"{file} is missing, so a server does not know what to serve. Another `export` writes it again.")
    try:
        models = read_model_config(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RuntimeError(f"{file} is not a configuration that TF Serving can read: {error}") from error
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise RuntimeError(f"{file} lists a model twice: {', '.join(names)}. TF Serving then does not start.")
    folders = folders_in(directory)
    known = _names(folders.values())
    ours = [model for model in models if model.name in known] if known else models
    if not ours:
        raise RuntimeError(
            f"{file} serves {', '.join(map(repr, names)) or 'no model'}, but requests to the exported versions name "
            f"{' or '.join(map(repr, sorted(known)))}."
        )
    for model in ours:
        _check_model(file, model, folders)


def _check_model(file, model, folders):
    last = PurePosixPath(model.base_path).name
    if last != model.name and PurePosixPath(model.base_path) != PurePosixPath(file.parent.as_posix()):
        raise RuntimeError(
            f"{file} looks for {model.name!r} in base_path {model.base_path!r}. Expected a path that ends in {model.name!r}, "
            f"such as /models/{model.name} in a container, or this folder, {str(file.parent)!r}."
        )
    if model.model_platform != "tensorflow":
        raise RuntimeError(f'{file} gives {model.model_platform!r} as model_platform. For a SavedModel, it is "tensorflow".')
    served = _served(file, model.model_version_policy, folders)
    labels = {}
    for label in model.version_labels:
        if label.value not in served:
            raise RuntimeError(
                f"{file} gives the label {label.key!r} to version {label.value}, which is not served. Served: "
                f"{', '.join(map(str, served))}."
            )
        if labels.setdefault(label.key, label.value) != label.value:
            raise RuntimeError(f"{file} gives the label {label.key!r} to two versions, {labels[label.key]} and {label.value}.")


def _served(file, policy, folders):
    """The versions that a server loads: by default only the highest one."""
    choice = policy.WhichOneof("choice")
    if choice == "all":
        return list(folders)
    if choice != "specific":
        return list(folders)[-max(policy.latest.num_versions, 1) :]
    for version in policy.specific.versions:
        if version not in folders:
            raise RuntimeError(f"{file} serves version {version}, but there is no folder with this number.")
    if not policy.specific.versions:
        raise RuntimeError(f"{file} serves specific versions, but names none.")
    return sorted(set(policy.specific.versions))


def _names(folders):
    """The names of the model in the requests of its versions. Usually one: it changes when somebody renames the folder."""
    names = set()
    for folder in folders:
        try:
            names.add(json.loads((folder / EXTRA / "export.json").read_text())["model"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `verification_script.py` says what is wrong with this version
    return names
