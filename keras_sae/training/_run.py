import contextlib
import json
import os
from pathlib import Path

import keras

from keras_sae.training import _state
from keras_sae.training._recipe import OF_THE_CARD, from_data

try:
    import fcntl
except ImportError:  # Windows has no such locks, so two processes in one directory are not detected there
    fcntl = None

RUN = "run.json"
CHECKPOINT = "checkpoint.npz"
BEST = "best.npz"
# Keys of a recipe that may change when a run is resumed: its length, and what only the card and the evaluation read.
_FREE = {"epochs", *OF_THE_CARD}
_LAST = "refit_decoder"  # may be added to a finished run, and made longer
_START = {"phase": 0, "epoch": 0, "step": 0, "seconds": 0.0, "callbacks": {}, "best": None, "stopped_early": False}


class Run:
    """The directory of a run and its progress. Of several workers, only the chief reads and writes.

    Args:
        output: The directory.
        recipe: The recipe.
        resume: Whether to continue the run in the directory.
        workers: `keras_sae.distributed.Workers`, or None.

    Attributes:
        progress: Dictionary: `phase`, `epoch` and `step` to continue with, `seconds` so far, `callbacks` (their state), `best`
            (the lowest value that `keep_best` has seen), `stopped_early`.
        arrays: The values of all variables at that point, or None at the start.

    Raises:
        FileExistsError: The directory has a run, and `resume` is False.
        ValueError: The run there has another recipe or precision.
        OSError: The directory cannot be written, or another process uses it.
    """

    def __init__(self, output, recipe, resume, workers=None):
        self.output = Path(output).expanduser()
        self.workers = workers
        self.is_chief = workers is None or workers.is_chief
        self.progress = dict(_START)
        self.arrays = None
        self._lock = None
        refusal = None
        if self.is_chief:
            try:
                self._open(recipe, resume)
            except (OSError, ValueError) as error:
                self.__exit__()
                refusal = error
        if workers:  # all of them must know of a refusal, or they would wait for the first one
            told = workers.tell({"progress": self.progress, "refusal": refusal and str(refusal)})
            self.progress = told["progress"]
            if not self.is_chief and told["refusal"]:
                raise ValueError(f"The first worker cannot start: {told['refusal']}")
        if refusal:
            raise refusal

    def _open(self, recipe, resume):
        checkpoint = self.output / CHECKPOINT
        if checkpoint.exists() and not resume:
            raise FileExistsError(
                f"{str(self.output)!r} already has a run. Continue it with `--resume` (resume=True), or choose another output."
            )
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            self._lock = (self.output / ".lock").open("w")
        except OSError as error:
            raise OSError(f"The run cannot be written to {str(self.output)!r}: {error}. Choose another output.") from error
        self._claim()
        self._record = {"recipe": recipe.as_data(), "precision": [keras.config.floatx(), keras.config.dtype_policy().name]}
        self._earlier = {}
        if checkpoint.exists():
            self._earlier = _read_record(self.output / RUN)
            _refuse_another(self._earlier, self._record, self.output)
            self.progress, self.arrays = _state.read(checkpoint)

    def begin(self, recipe, model, data):
        """Writes the record of the run. Refuses to resume a run that did more than its recipe, or was trained on other data.

        Args:
            recipe: The recipe.
            model: The model that is built from it.
            data: Function that gives the SHA-256 of the data, by split.
        """
        if not self.is_chief:
            return
        phases = recipe.phases(model)
        if self._earlier:
            _check_done(self.progress["phase"], from_data(self._earlier["recipe"]).phases(model), phases, self.output)
        check_length(self.progress, phases, self.output)
        digests = data()
        for split, expected in self._earlier.get("data_sha256", {}).items():
            check_data_of_run(expected, digests.get(split), f"data.{split}", self.output)
        write_text(self.output / RUN, json.dumps({**self._record, "data_sha256": digests}, indent=2) + "\n")

    def _claim(self):
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BlockingIOError(
                f"Another process is training in {str(self.output)!r}. Wait for it, or choose another output."
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._lock:
            self._lock.close()

    def restore(self, model, trained, best=False):
        """Sets the model to the saved state, or to that of the best epoch, on every worker."""
        arrays = _state.read(self.output / BEST)[1] if best and self.is_chief else self.arrays
        if self.workers:
            own = _state.snapshot(model, trained)  # all workers must read the sums over replicas
            arrays = self.workers.of_chief(arrays if self.is_chief else own)
        _state.restore(arrays, model, trained)
        self.arrays = None

    def arrays_at(self, phase):
        """Whether the saved state belongs to this phase."""
        return self.progress["phase"] == phase and (self.progress["epoch"] > 0 or self.progress["step"] > 0)

    def next_phase(self, there_is_one):
        """Moves on to the next phase, if there is one."""
        if there_is_one:
            self.progress.update({**_START, "phase": self.progress["phase"] + 1, "seconds": self.progress["seconds"]})

    def save(self, arrays, name=CHECKPOINT):
        """Writes the state of training. If writing fails, the previous state stays."""
        if self.is_chief:
            with writing(self.output / name):
                _state.write(self.output / name, self.progress, arrays)


def read_run(output):
    """Reads the record of the run in `output`: its `recipe` as data, its `precision`, and its progress.

    Args:
        output: Directory of a run of `train`.

    Returns:
        Dictionary with `recipe`, `precision`, `epoch` and `step` to continue with, `seconds` so far, and more.

    Raises:
        FileNotFoundError: The run has not saved a state yet.
    """
    output = Path(output).expanduser()
    if not (output / RUN).is_file() or not (output / CHECKPOINT).is_file():
        raise FileNotFoundError(f"{str(output)!r} has no run with a saved state yet.")
    return {**_read_record(output / RUN), **_state.read_progress(output / CHECKPOINT)}


def _read_record(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read ({error}). It records the recipe of the saved state. Restore a copy of it, or start "
            "a new run in another output."
        ) from error


def write_text(path, text):
    """Writes a small file to a temporary name, and moves it into place."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            unfinished.write_text(text)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path):
    """Says what an OSError means for a run, such as a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{str(path)!r} could not be written: {error}. The last saved state and all earlier files are intact: free some "
            "space, then continue with `--resume`."
        ) from error


def _check_done(current, earlier, now, output):
    """Raises ValueError if phases that a run has finished, or the order of phases, differ in the recipe."""
    done = [phases[:current] for phases in (earlier, now)]
    names = [phases[current][0] if current < len(phases) else None for phases in (earlier, now)]
    if done[0] != done[1] or names[0] != names[1]:
        texts = [
            ", ".join(f"{epochs} epochs of {name or 'the whole model'}" for name, epochs in each) for each in (earlier, now)
        ]
        raise ValueError(
            f"The run in {str(output)!r} is past a phase of training that the recipe now changes. It began with {texts[0]}; "
            f"the recipe now has {texts[1]}. Choose another output for a new run."
        )


def check_length(progress, phases, output):
    """Raises ValueError if a run has done more than these phases."""
    epochs = phases[progress["phase"]][1] if progress["phase"] < len(phases) else 0
    if progress["epoch"] + (progress["step"] > 0) > epochs:
        within = f" and {progress['step']} steps" if progress["step"] else ""
        raise ValueError(
            f"The run in {str(output)!r} has done {progress['epoch']} epochs{within} of this phase, and the recipe now has "
            f"{epochs}. Training cannot be undone: give at least as many `epochs`, or choose another output for a shorter run."
        )


def check_data_of_run(expected, found, what, output):
    """Raises ValueError if the data of a run were replaced."""
    if found != expected:
        raise ValueError(
            f"The run in {str(output)!r} was trained on other data than {what} holds now. Expected SHA-256: {expected}. Found: "
            f"{found}. Put the earlier data back, or choose another output for a new run."
        )


def _refuse_another(earlier, now, output):
    recipes = earlier["recipe"], now["recipe"]
    keys = sorted({*recipes[0], *recipes[1]} - _FREE - ({_LAST} if _LAST not in recipes[0] else set()))
    changed = [key for key in keys if _of_training(recipes[0], key) != _of_training(recipes[1], key)]
    if earlier["precision"] != now["precision"]:
        changed.append("precision")
    if changed:
        before_centering = changed == ["model"] and "center" not in recipes[0]["model"]
        raise ValueError(
            f"The run in {str(output)!r} has another recipe: {', '.join(changed)} differ. When you resume a run, only "
            "`epochs`, `data.test` and what the card shows may change, and `refit_decoder` may be added. Choose another output "
            "for a new run."
            + before_centering
            * " If it began before recipes had `center`, give model.center=false to continue it."
        )


def _of_training(recipe, key):
    """A part of a recipe that must not change: `data` without what only the card and the evaluation read, no lengths."""
    if key == "model":
        return {"center": False, **recipe["model"]}  # what a record from before the argument means
    if key == _LAST:
        return {name: value for name, value in recipe.get(key, {}).items() if name != "epochs"}
    if key != "data":
        return recipe.get(key)
    return {name: value for name, value in recipe["data"].items() if name not in ("test", "licence", "shown")}
