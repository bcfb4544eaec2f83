import json
import math
import os
import time
from pathlib import Path

import keras

from keras_sae.datasets import epochs_from, load_arrays

CHECKPOINT = "checkpoint.keras"
RUN = "run.json"
HISTORY = "history.csv"


def train(recipe, output, data_dir=None, resume=False, verbose="auto"):
    """Trains the model of a recipe, and leaves a run that can be resumed.

    After each epoch the whole state (weights, optimizer, schedules) is written to `output/checkpoint.keras`, beside it and
    then into place. The order of the data depends on the seed and the epoch alone. So a run that was stopped, and resumed,
    ends as it would have ended; and a finished run can be resumed with more epochs.

    Args:
        recipe: A `Recipe`.
        output: Directory of the run.
        data_dir: Folder of the TFDS data, see `keras_sae.datasets.load`.
        resume: Whether to go on with the run in `output`. Without a checkpoint there, it starts anew.
        verbose: As in Keras' `fit`.

    Returns:
        The trained model.

    Raises:
        FileExistsError: There is a run in `output` already and `resume` was not asked for.
        ValueError: The run in `output` is of another recipe.
        FloatingPointError: The loss became NaN or infinite. The last good checkpoint stays.
    """
    output = Path(output)
    checkpoint = output / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise FileExistsError(
            f"{str(output)!r} holds a run already. Go on with it by `--resume` (resume=True), or choose another output."
        )
    images, _ = load_arrays(recipe.data["name"], recipe.data["train"], data_dir)
    steps_per_epoch = -(-len(images) // recipe.batch_size)
    output.mkdir(parents=True, exist_ok=True)
    run = _open_run(output / RUN, recipe, resume)
    if checkpoint.exists():
        model = keras.models.load_model(checkpoint)
        first_epoch = int(model.optimizer.iterations) // steps_per_epoch
    else:
        model = recipe.build(images.shape[1:])
        first_epoch = 0
    model.fit(
        epochs_from(images, recipe.batch_size, recipe.seed, first_epoch),
        epochs=recipe.epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,  # it is shuffled already
        callbacks=[
            *recipe.callbacks(steps_per_epoch),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.CSVLogger(str(output / HISTORY), append=first_epoch > 0),
            _Checkpoint(output, run),
        ],
        verbose=verbose,
    )
    return model


def read_run(output):
    """What is known of the run in `output`: its recipe as data, and the seconds that its epochs took."""
    return json.loads((Path(output) / RUN).read_text())


class _Checkpoint(keras.callbacks.Callback):
    """Writes the whole state of training after each epoch; the last good one stays where writing fails."""

    def __init__(self, output, run):
        super().__init__()
        self.output = output
        self.run = run

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss became {logs['loss']} in epoch {epoch + 1}. The checkpoint of the epoch before is kept. Lower the "
                "learning rate, or clip gradients (clipnorm = 1.0 in the recipe's optimizer)."
            )
        beside = self.output / f".{CHECKPOINT}.{os.getpid()}.keras"
        try:
            self.model.save(beside)
            os.replace(beside, self.output / CHECKPOINT)
        finally:
            beside.unlink(missing_ok=True)
        self.run["seconds"] += time.perf_counter() - self._began
        self.run["epochs_done"] = epoch + 1
        _write(self.output / RUN, self.run)


def _open_run(path, recipe, resume):
    """The record of a run: a new one, or the one to go on with, which must be of the same recipe but for its length."""
    run = {"recipe": recipe.as_data(), "seconds": 0.0, "epochs_done": 0}
    if resume and path.exists():
        earlier = json.loads(path.read_text())
        changed = [
            key
            for key in sorted({*earlier["recipe"], *run["recipe"]} - {"epochs"})
            if key not in ("title", "notes", "published", "source", "probe")
            and earlier["recipe"].get(key) != run["recipe"].get(key)
        ]
        if changed:
            raise ValueError(
                f"The run in {str(path.parent)!r} was made with another recipe: {', '.join(changed)} differ. Only `epochs` "
                "may change when a run is resumed. Choose another output for a new run."
            )
        run = {**earlier, "recipe": run["recipe"]}
    _write(path, run)
    return run


def _write(path, run):
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(run, indent=2) + "\n")
    os.replace(beside, path)
