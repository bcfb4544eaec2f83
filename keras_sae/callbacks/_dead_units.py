import contextlib

import keras
import numpy as np

from keras_sae._checks import check_flag, check_integer, check_number
from keras_sae._pixels import as_input
from keras_sae.callbacks._optimizer_slots import is_average, slots_of
from keras_sae.datasets import read_batches
from keras_sae.layers import LISTA, KSelection, TiedLayer

_FOR_CENTER = 256  # inputs, or windows of them, that the mean input is estimated from
_MOST = 10_000  # samples that are kept of a data set
_BATCH = 512
_MOST_WORSE = 1.5  # times the error, that new units may make of it
_TRIES = 4


class DeadUnitMonitor(keras.callbacks.Callback):
    """Reports units that never fire, and can restart them.

    At the end of every `every`-th epoch it encodes `x` as at inference; while a `KSchedule` runs, with the current `k`. A unit
    is dead if no entry of it exceeds `threshold` in absolute value. `fit` logs their number as `dead_units`.

    With `resample=True`, a unit that was dead in the last report too (or at the start) starts again from an input that the
    model reconstructs poorly. While a `KSchedule` runs, no unit is resampled: most units that are silent then come back. The
    input is drawn with a probability proportional to the square of its reconstruction error. Then

    - the encoding weights of the unit become that input (for a deep encoder, the input of the last layer; for a convolution,
      a window of it) minus the mean input, scaled to the mean norm of the living units' weights. Its bias becomes their mean
      bias;
    - its decoding weights become the same direction, scaled to the mean norm of the living units' decoding weights; a random
      direction where the decoder writes another shape;
    - the optimizer's state for these weights (momenta, second moments) becomes zero; moving averages of them (`use_ema`) become
      the new weights.

    If the error on `x` grows by more than half, the new units are too strong: they get half the norm, up to three times, and
    then their old weights back. `fit` then logs `resampled_units` too. Resample during the first part of training only: a new
    unit needs time to settle.

    Args:
        x: Array of inputs, such as a few thousand training images; a data frame; or a data set, of which the first 10,000
            samples are kept. uint8 is divided by 255.
        every: Integer, at least 1. Epochs between reports. In between, the last report is logged again.
        threshold: Float, at least 0. Sigmoid units are never exactly zero: choose a value below which a unit counts as
            silent.
        resample: Whether to restart dead units.
        last_resample: Integer or None. The last epoch, counted from 1, that resamples.
        seed: Integer. Together with the epoch it determines which inputs are drawn.

    Attributes:
        last_report: Dictionary, the values of the last report.
        last_dead: Dictionary, `units`: the list of the units that were dead in the last report at the final `k`.

    Raises:
        ValueError: At the start of `fit`, with `resample=True`, if no layer with a `kernel`, such as Dense or Conv2D, makes
            the code, or none reads it; or if one of them cannot get new weights: it is frozen or quantised, has LoRA, or is a
            `LISTA`.

    Example:

    >>> model = DenseAutoencoder(4, 8, sparsity=KSparse(2))
    >>> model.compile("adam", "mse")
    >>> x = np.random.default_rng(0).uniform(size=(100, 4)).astype("float32")
    >>> history = model.fit(x, callbacks=[DeadUnitMonitor(x, resample=True)], verbose=0)
    >>> sorted(set(history.history) - {"loss", "reconstruction_loss"})
    ['dead_units', 'resampled_units']

    Reference:
        Bricken et al., "Towards Monosemanticity", 2023, neuron resampling. There the inputs are not centred, and scaled to a
        fifth of the mean norm; here they are centred, at the whole norm, so that a unit can win a selection.
    """

    def __init__(self, x, every=1, threshold=0.0, resample=False, last_resample=None, seed=0):
        super().__init__()
        inputs = [batch for batch, _ in read_batches(x, most=_MOST, read=np.asarray)[0] if len(batch)]
        if not inputs:
            raise ValueError("`x` holds the inputs on which units may fire, and needs at least one. Received: no input.")
        self.x = np.concatenate(inputs)
        self.every = check_integer("every", every, "is the number of epochs between reports")
        self.threshold = check_number("threshold", threshold, "is the absolute value above which a unit fires", at_least=0)
        self.resample = check_flag("resample", resample, "says whether dead units start again")
        self.last_resample = last_resample
        self.seed = seed
        self.last_report = {}
        self.last_dead = {}

    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "layers_around_code"):
            raise ValueError(
                "DeadUnitMonitor watches the code of a keras_sae.models.SparseAutoencoder. "
                f"Received: the model {self.model.name!r} of type {type(self.model).__name__}."
            )
        if "float" in self.model.encoder.inputs[0].dtype:  # other models read integers, such as token ids, as they are
            self.x = as_input(self.x)
        if self.resample:
            self._encode, self._decode = self.model.layers_around_code
            if self._encode is None or self._decode is None:
                encoder, decoder = (
                    ", ".join(type(layer).__name__ for layer in model.layers)
                    for model in (self.model.encoder, self.model.decoder)
                )
                raise ValueError(
                    "resample=True gives dead units new weights. It needs a layer with a kernel of shape (..., units), such as "
                    "Dense or Conv2D, that makes the code, and one with a kernel that reads it. "
                    f"Received: an encoder of {encoder}; a decoder of {decoder}."
                )
            for layer in (self._encode, self._decode):
                _check_kernel_can_change(layer)
            self._features = keras.Model(self.model.encoder.inputs[0], self._encode.input)
            self._remember(self._dead_of(self._codes()))

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            codes = self._codes()
            dead = self._dead_of(codes)
            self.last_report = {"dead_units": len(dead)}
            if self.resample:
                still = np.intersect1d(dead, self.last_dead.get("units", []))
                due = len(still) and (self.last_resample is None or epoch < self.last_resample) and not self._anneals()
                done = due and self._resample(still, codes, np.random.default_rng([self.seed, epoch]))
                self.last_report["resampled_units"] = len(still) if done else 0
                self._remember(dead)
        if logs is not None:
            logs.update(self.last_report)

    def _annealed(self):
        return [layer for layer in self.model.selections if isinstance(layer, KSelection)]

    def _anneals(self):
        return any(layer.anneals for layer in self._annealed())

    def _remember(self, dead):
        # With more entries active than `k`, that a unit is silent or not says little about later.
        self.last_dead = {"units": [] if self._anneals() else [int(unit) for unit in dead]}

    def _codes(self):
        with contextlib.ExitStack() as stack:
            for layer in self._annealed():
                stack.enter_context(layer.judged_at_current_k())
            return self._each_batch(self.model.encoder, self.x)

    def _each_batch(self, model, x):
        parts = [model(x[start : start + _BATCH], training=False) for start in range(0, len(x), _BATCH)]
        return np.concatenate([keras.ops.convert_to_numpy(keras.ops.cast(part, "float32")) for part in parts])

    def _dead_of(self, codes):
        return np.flatnonzero(~(np.abs(codes.reshape(-1, codes.shape[-1])) > self.threshold).any(axis=0))

    def _errors(self, codes):
        """The summed squared error of the reconstruction of each input."""
        errors = np.square(self._each_batch(self.model.decoder, codes).astype("float64") - self.x)
        return errors.reshape(len(errors), -1).sum(axis=1)

    def _resample(self, dead, codes, random):
        """Gives units new weights, unless that makes the error on `x` much larger. Returns whether it did."""
        before = self._errors(codes)
        errors = np.square(before)
        if not np.isfinite(errors).all() or errors.sum() == 0:
            return False  # no input is reconstructed poorly
        variables = [self._encode.kernel, getattr(self._encode, "bias", None), getattr(self._decode, "kernel", None)]
        variables = {id(variable): variable for variable in variables if variable is not None}.values()
        variables = [each for variable in variables for each in (variable, *slots_of(self.model.optimizer, variable))]
        kept = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
        state = random.bit_generator.state
        for halvings in range(_TRIES):
            random.bit_generator.state = state  # the same inputs each time
            self._draw(dead, errors, random, 0.5**halvings)
            if self._errors(self._codes()).sum() <= _MOST_WORSE * before.sum():
                return True
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)
        return False

    def _draw(self, dead, errors, random, scale):
        """Draws new weights for units."""
        features = self._each_batch(self._features, self.x)
        kernel = keras.ops.convert_to_numpy(self._encode.kernel)
        chosen = features[random.choice(len(features), len(dead), p=errors / errors.sum())]
        center = _windows(features[random.integers(len(features), size=_FOR_CENTER)], kernel.shape, random).mean(axis=0)
        directions = _windows(chosen, kernel.shape, random) - center  # (dead, *window)
        directions /= np.maximum(_norms(directions), 1e-12)
        living = np.setdiff1d(np.arange(kernel.shape[-1]), dead)
        self._replace(self._encode.kernel, -1, dead, living, scale * directions)
        if getattr(self._encode, "bias", None) is not None:
            bias = keras.ops.convert_to_numpy(self._encode.bias)
            self._replace(self._encode.bias, 0, dead, living, np.full(len(dead), bias[living].mean() if len(living) else 0.0))
        if not isinstance(self._decode, TiedLayer):
            axis = _unit_axis(self._decode)
            shape = np.moveaxis(keras.ops.convert_to_numpy(self._decode.kernel), axis, 0).shape[1:]
            if directions.shape[1:] != shape:
                directions = random.normal(size=(len(dead), *shape))
                directions /= _norms(directions)
            self._replace(self._decode.kernel, axis, dead, living, scale * directions)

    def _replace(self, variable, axis, dead, living, new):
        """Sets the slices of dead units, directions at the mean norm of the living units', and clears their optimizer state."""
        values = np.moveaxis(keras.ops.convert_to_numpy(variable).copy(), axis, 0)
        if new.ndim > 1:
            new = new * _norms(values[living] if len(living) else values).mean()
        values[dead] = new
        variable.assign(np.moveaxis(values, 0, axis))
        for slot in slots_of(self.model.optimizer, variable):
            values = np.moveaxis(keras.ops.convert_to_numpy(slot).copy(), axis, 0)
            values[dead] = np.moveaxis(keras.ops.convert_to_numpy(variable), axis, 0)[dead] if is_average(slot, variable) else 0
            slot.assign(np.moveaxis(values, 0, axis))


def _check_kernel_can_change(layer):
    """Raises ValueError if a layer's kernel is no weight that trains."""
    owner = layer.tied_to if isinstance(layer, TiedLayer) else layer
    states = {
        f"is quantised by {owner.quantization_mode!r}": owner.quantization_mode is not None,
        "has LoRA, which adapts a kernel that stays": getattr(owner, "lora_enabled", False),
        "makes the code by filters of its own, not by its kernel": isinstance(layer, LISTA),
        "is frozen": not (layer.trainable and owner.trainable),
    }
    state = next((state for state, holds in states.items() if holds), None)
    if state:
        raise ValueError(
            f"resample=True gives dead units new weights, and the layer {layer.name!r} {state}. Use resample=False, or thaw "
            "the layer and train the model before you quantise or adapt it."
        )


def _unit_axis(decode):
    """The axis of a decoding kernel that counts the units of the code."""
    if isinstance(decode, (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)):
        return decode.kernel.ndim - 1
    return decode.kernel.ndim - 2


def _windows(features, kernel_shape, random):
    """One window of each feature map, as large as the kernel, at a random place: `(n, *kernel_shape[:-1])`."""
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
    """The norm of each entry of the first axis, with all axes kept."""
    return np.sqrt(np.square(values).sum(axis=tuple(range(1, values.ndim)), keepdims=True))
