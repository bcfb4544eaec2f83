import keras

from keras_sae.layers import KSparse


class KSchedule(keras.callbacks.Callback):
    """Anneals the `k` of every `KSparse` layer, linearly from `start` to the layer's own `k`.

        current_k = round(start + (k - start) * min(step / steps, 1))

    Starting with many active units lets every unit learn something before the competition gets hard; starting with few
    leaves units that never win, the dead units. The paper anneals over the first half of training.

    `step` counts the updates of the optimizer, which are saved with it: a resumed run goes on where it was. `current_k`
    changes after each step; with `steps_per_execution=n`, after every n-th. `fit` logs it as `k` at each epoch's end.

    Args:
        start: Integer, at least 1. Entries kept at first.
        steps: Integer, at least 1. Optimizer steps after which `k` is reached.

    Raises:
        ValueError: at the start of `fit`, if the model has no `KSparse` layer or `start` exceeds its units.

    Example:

    >>> model = DenseAutoencoder(784, 1000, sparsity=KSparse(k=25), tied=True)
    >>> schedule = KSchedule(start=100, steps=2000)      # model.fit(x, callbacks=[schedule])

    Reference:
        Makhzani and Frey, "k-Sparse Autoencoders", 2013, section 4.2.
    """

    def __init__(self, start, steps):
        super().__init__()
        for name, value in (("start", start), ("steps", steps)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}.")
        self.start = int(start)
        self.steps = int(steps)

    def on_train_begin(self, logs=None):
        self._layers = list(_k_sparse_layers(self.model))
        if not self._layers:
            raise ValueError(f"KSchedule changes the k of KSparse layers, and the model {self.model.name!r} has none.")
        for layer in self._layers:
            if self.start > layer.units:
                raise ValueError(
                    "`start` counts the units kept active at first and cannot exceed the width of the code. "
                    f"Received: start={self.start}, units={layer.units} in layer {layer.name!r}."
                )
        self._assign()

    def on_train_batch_end(self, batch, logs=None):
        self._assign()

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            for layer in self._layers:
                logs["k" if len(self._layers) == 1 else f"{layer.name}_k"] = int(layer.current_k)

    def _assign(self):
        progress = min(int(self.model.optimizer.iterations) / self.steps, 1.0)
        for layer in self._layers:
            current = round(self.start + (layer.k - self.start) * progress)
            if current != int(layer.current_k):
                layer.current_k.assign(current)


def _k_sparse_layers(model):
    """The KSparse layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, KSparse):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _k_sparse_layers(layer)
