"""The whole state of training as one file: weights, optimizer, schedules, running statistics, random state, position."""

import contextlib
import json
import os

import keras
import numpy as np


def variables_of(model, trained):
    """Every variable that training changes, each once: of the model, and of what trains it, which may be a part of it."""
    metrics = [variable for metric in trained.metrics for variable in metric.variables]
    candidates = [*model.variables, *trained.variables, *trained.optimizer.variables, *metrics]
    return list({id(variable): variable for variable in candidates}.values())


def snapshot(model, trained):
    """The values of all variables, a list of arrays. Under several workers it is to be taken by all of them at once."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables_of(model, trained)]


def restore(arrays, model, trained):
    """Gives all variables the values of a snapshot.

    Raises:
        ValueError: They are those of another model.
    """
    variables = variables_of(model, trained)
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise ValueError(f"The saved state is that of another model than {model.name!r}: the shapes of its variables differ.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def write(path, progress, arrays):
    """Writes a state beside its place and moves it there when it is whole, so that the last good one survives a failure."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez(file, progress=np.array(json.dumps(progress)), **{f"{index}": array for index, array in enumerate(arrays)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(path):
    """What `write` wrote: the progress, and the arrays.

    Raises:
        ValueError: The file is damaged.
    """
    with _opened(path) as content:
        return json.loads(str(content["progress"])), [content[f"{index}"] for index in range(len(content.files) - 1)]


def read_progress(path):
    """The progress alone."""
    with _opened(path) as content:
        return json.loads(str(content["progress"]))


@contextlib.contextmanager
def _opened(path):
    try:
        with np.load(path, allow_pickle=False) as content:  # which checks sums
            yield content
    except OSError:
        raise
    except Exception as error:  # whatever NumPy and zipfile make of other bytes than were written
        raise ValueError(
            f"The saved state {str(path)!r} is damaged ({error}). Put a copy of it back, or start anew in another output."
        ) from error
