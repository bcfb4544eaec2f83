import keras

from keras_sae._checks import check_integer, check_number
from keras_sae.layers import KSelection, selections_of


class _LinearSchedule(keras.callbacks.Callback):
    """Moves a value linearly over the first steps of training, and then leaves it.

    Steps are the updates of the optimizer. They are saved with it, so a resumed run continues where it stopped.
    """

    def __init__(self, steps):
        super().__init__()
        self.steps = check_integer("steps", steps, "is the number of optimizer steps that the schedule takes")

    def find(self):
        """Finds the value in the model, or raises a ValueError."""
        raise NotImplementedError

    def move(self, progress):
        """Sets the value for this share of the steps."""
        raise NotImplementedError

    def values(self):
        """A dictionary of what to log at the end of an epoch."""
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

    With many active units at first, every unit learns something before the competition gets hard. With few, some units never
    win: the dead units. The paper anneals over the first half of training.

    `step` counts the updates of the optimizer. They are saved with it, so a resumed run continues where it stopped.
    `current_k` changes after each step, or with `steps_per_execution=n` after every n-th. `fit` logs it as `k` at the end of
    each epoch.

    Args:
        start: Integer, at least 1. Entries kept at first.
        steps: Integer, at least 1. Optimizer steps until `k` is reached.

    Raises:
        ValueError: At the start of `fit`, if the model has no such layer, or `start` exceeds the number of entries that
            compete.

    Example:

    >>> model = DenseAutoencoder(784, 1000, sparsity=KSparse(k=25), tied=True)
    >>> schedule = KSchedule(start=100, steps=2000)      # model.fit(x, callbacks=[schedule])

    Reference:
        Makhzani and Frey, "k-Sparse Autoencoders", 2013, section 4.2.
    """

    def __init__(self, start, steps):
        super().__init__(steps)
        self.start = check_integer("start", start, "is the number of entries kept at first")

    def find(self):
        self._layers = [layer for layer in selections_of(self.model) if isinstance(layer, KSelection)]
        if not self._layers:
            raise ValueError(
                f"KSchedule changes the k of KSparse and BatchKSparse layers, and the model {self.model.name!r} has none."
            )
        for layer in self._layers:
            if self.start > layer.competitors:
                raise ValueError(
                    "`start` is the number of entries kept at first, and cannot exceed the number that the layer selects "
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

    A penalty that is strong from the first step can silence units before they have learned anything. With `start=0` the
    reconstruction comes first. With `start` above 1 the penalty relaxes instead.

    The scales are a saved weight of the model. They change after each step, or with `steps_per_execution=n` after every n-th.
    `fit` logs each as `<penalty>_scale` (`activity_kl_scale`, ...) at the end of each epoch. Penalties are logged scaled.

    Args:
        start: Finite float, at least 0. The multiple of the weight at first.
        steps: Integer, at least 1. Optimizer steps until the weight itself is reached.
        penalty: Name of the penalty as `fit` logs it. By default all penalties.

    Raises:
        ValueError: At the start of `fit`, if the model has no such penalty.

    Example:

    >>> model = DenseAutoencoder(784, 196, sparsity=ActivityKL(0.1, 0.01))
    >>> schedule = PenaltySchedule(start=0.0, steps=500)      # model.fit(x, callbacks=[schedule])
    """

    def __init__(self, start, steps, penalty=None):
        super().__init__(steps)
        self.start = check_number("start", start, "is the multiple of the weight at first", at_least=0)
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
