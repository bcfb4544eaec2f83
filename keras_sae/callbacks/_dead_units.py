import keras
import numpy as np

# How many windows of the data the center of what is drawn is estimated from.
_FOR_CENTER = 256


class DeadUnitMonitor(keras.callbacks.Callback):
    """Reports units that never fire, and can give them a new start.

    At the end of every `every`-th epoch it encodes `x` as at inference. A unit is dead if no entry of it exceeds `threshold`
    in absolute value. `fit` logs their number as `dead_units`.

    With `resample=True` each dead unit is made again from an input that the model reconstructs poorly, drawn with a
    probability proportional to the square of its reconstruction error:

    - its encoding weights become that input (for a deep encoder what the last layer reads; for a convolution a window of it)
      less the mean input, at the mean norm of the living units' weights; its bias becomes their mean bias;
    - its decoding weights become the same direction at the mean norm of the living units', or a random one where the decoder
      writes something of another shape;
    - what the optimizer remembers of these weights (momenta, second moments) becomes zero.

    `fit` then logs `resampled_units` too. Resample during the first part of training only: a new unit needs time to settle.

    Args:
        x: Array of inputs, such as a few thousand training images.
        every: Integer, at least 1. Epochs between reports; in between the last report is logged.
        threshold: Float, at least 0. Sigmoid units are never exactly zero: for them, the value below which they are silent.
        resample: Whether dead units are made again.
        last_resample: Integer or None. The epoch, counted from 1, after which none is resampled.
        seed: Integer. Which inputs are drawn depends on it and on the epoch.

    Raises:
        ValueError: at the start of `fit`, if `resample` is asked for and the code is not made by a layer with a `kernel`,
            such as Dense or Conv2D, or not read by one.

    Example:

    >>> model = DenseAutoencoder(4, 8, sparsity=KSparse(2))
    >>> model.compile("adam", "mse")
    >>> x = np.random.default_rng(0).uniform(size=(100, 4)).astype("float32")
    >>> history = model.fit(x, callbacks=[DeadUnitMonitor(x, resample=True)], verbose=0)
    >>> sorted(set(history.history) - {"loss", "reconstruction_loss"})
    ['dead_units', 'resampled_units']

    Reference:
        Bricken et al., "Towards Monosemanticity", 2023, neuron resampling; there with unnormalized inputs at a fifth of the
        mean norm, here centered and at the whole, so that a unit can win where the largest are selected.
    """

    def __init__(self, x, every=1, threshold=0.0, resample=False, last_resample=None, seed=0):
        super().__init__()
        if len(x) == 0:
            raise ValueError("`x` holds the inputs on which units may fire, and needs at least one. Received: an empty array.")
        if isinstance(every, bool) or not hasattr(every, "__index__") or every < 1:
            raise ValueError(f"`every` counts epochs and must be an integer of at least 1. Received: every={every!r}.")
        if not threshold >= 0:
            raise ValueError(f"`threshold` must be a number of at least 0. Received: threshold={threshold!r}.")
        self.x = x
        self.every = int(every)
        self.threshold = threshold
        self.resample = resample
        self.last_resample = last_resample
        self.seed = seed
        self._report = {}

    def on_train_begin(self, logs=None):
        if not (hasattr(self.model, "encoder") and hasattr(self.model, "decoder")):
            raise ValueError(
                "DeadUnitMonitor watches the code of a keras_sae.models.SparseAutoencoder. "
                f"Received: the model {self.model.name!r} of type {type(self.model).__name__}."
            )
        if self.resample:
            self._encode, self._decode = _layers_around_the_code(self.model)
            self._features = keras.Model(self.model.encoder.inputs[0], self._encode.input)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            codes = self.model.encoder.predict(self.x, verbose=0)
            fired = (np.abs(codes.reshape(-1, codes.shape[-1])) > self.threshold).any(axis=0)
            self._report = {"dead_units": int(np.count_nonzero(~fired))}
            if self.resample:
                due = not fired.all() and (self.last_resample is None or epoch < self.last_resample)
                if due:
                    self._resample(np.flatnonzero(~fired), codes, np.random.default_rng([self.seed, epoch]))
                self._report["resampled_units"] = self._report["dead_units"] if due else 0
        if logs is not None:
            logs.update(self._report)

    def _resample(self, dead, codes, random):
        errors = np.square(self.model.decoder.predict(codes, verbose=0).astype("float64") - self.x)
        errors = np.square(errors.reshape(len(errors), -1).sum(axis=1))
        if not np.isfinite(errors).all() or errors.sum() == 0:
            return  # there is nothing to learn from
        features = self._features.predict(self.x, verbose=0)
        kernel = keras.ops.convert_to_numpy(self._encode.kernel)
        chosen = features[random.choice(len(features), len(dead), p=errors / errors.sum())]
        center = _windows(features[random.integers(len(features), size=_FOR_CENTER)], kernel.shape, random).mean(axis=0)
        directions = _windows(chosen, kernel.shape, random) - center  # (dead, *window)
        directions /= np.maximum(_norms(directions), 1e-12)
        living = np.setdiff1d(np.arange(kernel.shape[-1]), dead)
        self._replace(self._encode.kernel, -1, dead, living, directions)
        if getattr(self._encode, "bias", None) is not None:
            bias = keras.ops.convert_to_numpy(self._encode.bias)
            self._replace(self._encode.bias, 0, dead, living, np.full(len(dead), bias[living].mean() if len(living) else 0.0))
        if self._decode is not None:
            axis = _unit_axis(self._decode)
            shape = np.moveaxis(keras.ops.convert_to_numpy(self._decode.kernel), axis, 0).shape[1:]
            if directions.shape[1:] != shape:
                directions = random.normal(size=(len(dead), *shape))
                directions /= _norms(directions)
            self._replace(self._decode.kernel, axis, dead, living, directions)

    def _replace(self, variable, axis, dead, living, new):
        """Sets the slices of dead units, directions at the mean norm of the living units', and clears their optimizer state."""
        values = np.moveaxis(keras.ops.convert_to_numpy(variable).copy(), axis, 0)
        if new.ndim > 1:
            new = new * _norms(values[living] if len(living) else values).mean()
        values[dead] = new
        variable.assign(np.moveaxis(values, 0, axis))
        for slot in _slots(self.model.optimizer, variable):
            values = np.moveaxis(keras.ops.convert_to_numpy(slot).copy(), axis, 0)
            values[dead] = 0
            slot.assign(np.moveaxis(values, 0, axis))


def _layers_around_the_code(model):
    """The layer whose kernel makes the code, and the one whose kernel reads it; None for the latter where it is tied."""
    encode = next((layer for layer in reversed(model.encoder.layers) if hasattr(layer, "kernel")), None)
    decode = next((layer for layer in model.decoder.layers if hasattr(layer, "kernel") or hasattr(layer, "tied_to")), None)
    units = model.encoder.outputs[0].shape[-1]
    tied = hasattr(decode, "tied_to")
    if encode is None or decode is None or encode.kernel.shape[-1] != units:
        raise ValueError(
            "resample=True gives dead units new weights, and so needs a layer with a kernel of shape (..., units), such as "
            "Dense or Conv2D, that makes the code, and one with a kernel that reads it. Received: an encoder of "
            f"{', '.join(type(layer).__name__ for layer in model.encoder.layers)}; a decoder of "
            f"{', '.join(type(layer).__name__ for layer in model.decoder.layers)}."
        )
    return encode, None if tied else decode


def _unit_axis(decode):
    """The axis of a decoding kernel that counts the units of the code."""
    if isinstance(decode, (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)):
        return decode.kernel.ndim - 1
    return decode.kernel.ndim - 2


def _windows(features, kernel_shape, random):
    """Of each feature map one window of the size that the kernel reads, at a random place: `(n, *kernel_shape[:-1])`."""
    *sizes, _, _ = kernel_shape
    rank = features.ndim - 2
    sizes = sizes if len(sizes) == rank else [1] * rank  # a Dense layer reads one position
    short = [max(size - have, 0) for size, have in zip(sizes, features.shape[1:-1], strict=True)]
    features = np.pad(features, [(0, 0), *((0, pad) for pad in short), (0, 0)])
    windows = np.empty((len(features), *sizes, features.shape[-1]), features.dtype)
    for index, feature in enumerate(features):
        starts = [random.integers(have - size + 1) for have, size in zip(feature.shape[:-1], sizes, strict=True)]
        windows[index] = feature[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]
    return windows.reshape(len(features), *kernel_shape[:-1])


def _norms(values):
    """Norm of each entry of the first axis, ready to be divided by."""
    return np.sqrt(np.square(values).sum(axis=tuple(range(1, values.ndim)), keepdims=True))


def _slots(optimizer, variable):
    """The optimizer's variables that belong to a weight: they carry its path in theirs, and its shape."""
    mark = f"/{variable.path.replace('/', '_')}_"
    return [slot for slot in optimizer.variables if mark in f"/{slot.path}" and slot.shape == variable.shape]
