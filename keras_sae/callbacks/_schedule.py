import math
import numbers

import keras

from keras_sae.layers import KSelection, selections_of


class _LinearSchedule(keras.callbacks.Callback):
    """Moves something linearly over the first steps of training, and then leaves it.

    The steps are the optimizer's updates, which are saved with it: a resumed run goes on where it was.
    """

    def __init__(self, steps):
        super().__init__()
        if isinstance(steps, bool) or not hasattr(steps, "__index__") or steps < 1:
            raise ValueError(f"`steps` must be an integer of at least 1. Received: steps={steps!r}.")
        self.steps = int(steps)

    def find(self):
        """Finds in the model what the schedule moves, or raises ValueError."""
        raise NotImplementedError

    def move(self, progress):
        """Sets it to where it should be after this share of the steps."""
        raise NotImplementedError

    def values(self):
        """What is to be logged at the end of an epoch: a dictionary."""
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        self.find()
        self._move()

    def on_train_batch_end(self, batch, logs=None):
        self._move()

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update(self.values())

    def _move(self):
        self.move(min(_number(self.model.optimizer.iterations) / self.steps, 1.0))


class KSchedule(_LinearSchedule):
    """Anneals the `k` of every `KSparse` and `BatchKSparse` layer, linearly from `start` to the layer's own `k`.

        current_k = round(start + (k - start) * min(step / steps, 1))

    Starting with many active units lets every unit learn something before the competition gets hard; starting with few
    leaves units that never win, the dead units. The paper anneals over the first half of training.

    `step` counts the updates of the optimizer, which are saved with it: a resumed run goes on where it was. `current_k`
    changes after each step; with `steps_per_execution=n`, after every n-th. `fit` logs it as `k` at each epoch's end.

    Args:
        start: Integer, at least 1. Entries kept at first.
        steps: Integer, at least 1. Optimizer steps after which `k` is reached.

    Raises:
        ValueError: at the start of `fit`, if the model has no such layer or `start` exceeds what it selects from.

    Example:

    >>> model = DenseAutoencoder(784, 1000, sparsity=KSparse(k=25), tied=True)
    >>> schedule = KSchedule(start=100, steps=2000)      # model.fit(x, callbacks=[schedule])

    Reference:
        Makhzani and Frey, "k-Sparse Autoencoders", 2013, section 4.2.
    """

    def __init__(self, start, steps):
        super().__init__(steps)
        if isinstance(start, bool) or not hasattr(start, "__index__") or start < 1:
            raise ValueError(f"`start` must be an integer of at least 1. Received: start={start!r}.")
        self.start = int(start)

    def find(self):
        self._layers = [layer for layer in selections_of(self.model) if isinstance(layer, KSelection)]
        if not self._layers:
            raise ValueError(
                f"KSchedule changes the k of KSparse and BatchKSparse layers, and the model {self.model.name!r} has none."
            )
        for layer in self._layers:
            if self.start > layer.competitors:
                raise ValueError(
                    "`start` counts the entries kept active at first and cannot exceed the number that the layer selects "
                    f"from. Received: start={self.start}, and {layer.competitors} in layer {layer.name!r}."
                )

    def move(self, progress):
        for layer in self._layers:
            current = round(self.start + (layer.k - self.start) * progress)
            if current != _number(layer.current_k):
                layer.current_k.assign(current)

    def values(self):
        alone = len(self._layers) == 1
        return {"k" if alone else f"{layer.name}_k": _number(layer.current_k) for layer in self._layers}


class PenaltySchedule(_LinearSchedule):
    """Moves the weight of penalties, linearly from a multiple of it to the weight itself.

        scale = start + (1 - start) * min(step / steps, 1)        penalty charged = scale * penalty

    A penalty that is strong from the first step can silence units before they have learned anything; `start=0` lets the
    reconstruction come first. `start` above 1 relaxes a penalty instead.

    The scales are a saved weight of the model. They change after each step; with `steps_per_execution=n`, after every n-th.
    `fit` logs each as `<penalty>_scale` (`activity_kl_scale`, ...) at each epoch's end; the penalties are logged scaled.

    Args:
        start: Finite float, at least 0. The multiple of the weight at first.
        steps: Integer, at least 1. Optimizer steps after which the weight itself is reached.
        penalty: Name of the penalty as `fit` logs it; by default every penalty.

    Raises:
        ValueError: at the start of `fit`, if the model has no such penalty.

    Example:

    >>> model = DenseAutoencoder(784, 196, sparsity=ActivityKL(0.1, 0.01))
    >>> schedule = PenaltySchedule(start=0.0, steps=500)      # model.fit(x, callbacks=[schedule])
    """

    def __init__(self, start, steps, penalty=None):
        super().__init__(steps)
        if not (isinstance(start, numbers.Real) and math.isfinite(start) and start >= 0):
            raise ValueError(f"`start` is a multiple of the weight, a finite number of at least 0. Received: start={start!r}.")
        self.start = float(start)
        self.penalty = penalty

    def find(self):
        names = self.model.objective.names if getattr(self.model, "penalties", None) else []
        self._indices = [index for index, name in enumerate(names) if self.penalty in (None, name)]
        if not self._indices:
            raise ValueError(
                "PenaltySchedule changes the weight of penalties of a keras_sae.models.SparseAutoencoder. Received: "
                f"penalty={self.penalty!r}, and the model {self.model.name!r} has "
                f"{'the penalties ' + ', '.join(names) if names else 'no penalty'}."
            )

    def move(self, progress):
        scales = keras.ops.convert_to_numpy(self.model.objective.scales).copy()
        before = scales.copy()
        scales[self._indices] = self.start + (1 - self.start) * progress
        if (scales != before).any():
            self.model.objective.scales.assign(scales)

    def values(self):
        scales = keras.ops.convert_to_numpy(self.model.objective.scales)
        return {f"{self.model.objective.names[index]}_scale": float(scales[index]) for index in self._indices}


def _number(variable):
    # Not int(variable), which the variables of a tf.distribute strategy refuse.
    return int(keras.ops.convert_to_numpy(variable))
