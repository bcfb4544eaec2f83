import math
import signal
import time

import keras
import numpy as np

from keras_sae.training import _state
from keras_sae.training._callback_state import restore_state, state_of
from keras_sae.training._run import BEST
from keras_sae.training._signals import Stopped

# Workers agree about this often, in seconds, whether to save or to stop. Agreeing takes an all-reduce.
_AGREE = 5.0


class Checkpoint(keras.callbacks.Callback):
    """Saves the state of training regularly, at the end, and on a signal to stop. It must be the last callback.

    Args:
        run: The `Run`.
        model: The model of the recipe. The model in training may be a level of it.
        interrupts: `Interrupts`.
        others: The callbacks of the recipe, whose state is saved too.
        epochs, steps: Epochs of this phase, and steps of an epoch.
        keep_best: Name of a logged value, or None. The state of the epoch with its lowest value is kept as well.
        seconds: Approximate number of seconds between two saved states.

    Attributes:
        unfinished: The state after the first epoch of a resumed run that continued within an epoch, or None. `fit` returns
            there and does what belongs to the end of training, so training continues from this state.
    """

    def __init__(self, run, model, interrupts, others, epochs, steps, keep_best=None, seconds=60.0):
        super().__init__()
        self.run = run
        self.whole = model
        self.interrupts = interrupts
        self.others = others
        self.epochs = epochs
        self.steps = steps
        self.keep_best = keep_best
        self.seconds = seconds
        self.unfinished = None

    def on_train_begin(self, logs=None):
        self._saved_at = self._counted_at = time.monotonic()
        restore_state(self.run.progress["callbacks"], self.others)
        self._first_step = self.run.progress["step"]
        self._pause, self._agreed = 1, (self._first_step, time.monotonic())
        self._metrics = _state.snapshot(self.whole, self.model) if self._first_step else None
        self._stop = False

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self._metrics is not None:  # Keras has just reset the metrics in the middle of an epoch
            _state.restore(self._metrics, self.whole, self.model)
            self._metrics = None

    def on_train_batch_end(self, batch, logs=None):
        step = self._first_step + batch + 1
        self._move_to(self._epoch, step)
        if step < self.steps and self._is_due(step) and math.isfinite(float(logs["loss"])):
            self._save()
            self._obey()

    def on_epoch_end(self, epoch, logs=None):
        resumed, self._first_step = self._first_step > 0, 0
        self._move_to(epoch + 1, 0)
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss became {float(logs['loss'])} in epoch {epoch + 1}. The last saved state is kept. Lower the learning "
                "rate, or clip gradients (clipnorm = 1.0 in the recipe's optimizer)."
            )
        arrays = self._keep_best(logs)
        if resumed:
            self.unfinished = arrays = _state.snapshot(self.whole, self.model)
            self._remember()  # the next `fit` restores it, whether or not a state is due now
        self.run.progress["stopped_early"] = bool(self.model.stop_training)
        if self._is_due() or epoch + 1 == self.epochs or self.model.stop_training:
            self._save(arrays)
        self._obey()

    def _move_to(self, epoch, step):
        self.run.progress.update({"epoch": epoch, "step": step})

    def _keep_best(self, logs):
        if self.keep_best is None:
            return None
        value, best = float(logs[self.keep_best]), self.run.progress["best"]
        if best is not None and value >= best:
            return None
        self.run.progress["best"] = value
        arrays = _state.snapshot(self.whole, self.model)
        self.run.save(arrays, BEST)
        return arrays

    def _is_due(self, step=None):
        """Whether to save or stop now. Several workers ask each other regularly, all at the same step."""
        self._stop = bool(self.interrupts.received)
        due = self._stop or time.monotonic() - self._saved_at >= self.seconds
        if not self.run.workers:
            return due
        before, at = self._agreed
        if step is not None and step - before < self._pause:
            return False
        now = time.monotonic()
        if step is not None:  # the number of steps that the chief takes in _AGREE seconds
            self._pause = int(min(2 * self._pause, max(1, _AGREE * (step - before) / max(now - at, 1e-6))))
        answers = [self._stop, *((due, self._pause) if self.run.is_chief else (0, 0))]
        stop, due, self._pause = self.run.workers.sum(np.array(answers, "int64")).tolist()
        self._stop, self._agreed = stop > 0, (step or 0, now)
        return self._stop or due > 0

    def _save(self, arrays=None):
        now = time.monotonic()
        self.run.progress["seconds"] += now - self._counted_at
        self._counted_at = now
        self._remember()
        self.run.save(_state.snapshot(self.whole, self.model) if arrays is None else arrays)
        self._saved_at = time.monotonic()

    def _remember(self):
        self.run.progress["callbacks"] = state_of(self.others)

    def _obey(self):
        if self._stop:
            raise Stopped(self.interrupts.received or signal.SIGTERM)
