"""The whole state of training in one file: weights, optimizer, schedules, running statistics, random state, position."""

import contextlib
import json
import os

import keras
import numpy as np


def variables_of(model, trained):
    """Every variable that training changes, each once.

    Args:
        model: The model of a recipe.
        trained: The model in training: `model` itself or a level of it.
    """
    metrics = [variable for metric in trained.metrics for variable in metric.variables]
    candidates = [*model.variables, *trained.variables, *trained.optimizer.variables, *metrics]
    return list({id(variable): variable for variable in candidates}.values())


def snapshot(model, trained):
    """The values of all variables, a list of arrays. All workers must call it at the same time."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables_of(model, trained)]


def restore(arrays, model, trained):
    """Sets all variables to the values of a snapshot.

    Raises:
        ValueError: The snapshot is of another model.
    """
    variables = variables_of(model, trained)
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise ValueError(f"The saved state belongs to another model than {model.name!r}: the shapes of its variables differ.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def write(path, progress, arrays):
    """Writes a state to a temporary file and moves it into place, so that a failure leaves the previous state."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, progress=np.array(json.dumps(progress)), **{f"{index}": array for index, array in enumerate(arrays)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path):
    """Reads what `write` wrote: the progress and the arrays.

    Raises:
        ValueError: The file is damaged.
    """
    with _opened(path) as content:
        return json.loads(str(content["progress"])), [content[f"{index}"] for index in range(len(content.files) - 1)]


def read_progress(path):
    """Reads the progress without the arrays."""
    with _opened(path) as content:
        return json.loads(str(content["progress"]))


@contextlib.contextmanager
def _opened(path):
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:  # this verifies the checksums in the file
            yield content
    except OSError:
        raise
    except Exception as error:  # NumPy and zipfile raise many types for damaged bytes
        raise ValueError(
            f"The saved state {str(path)!r} is damaged ({error}). Restore a copy of it, or start a new run in another output."
        ) from error
