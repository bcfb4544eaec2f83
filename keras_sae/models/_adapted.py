"""Models whose layers learn statistics of data, such as a mean or a whitening, before training."""

import functools
import inspect
import math
import types
import warnings

import keras
import numpy as np

from keras_sae.datasets import MOST_OF_STREAM, read_batches
from keras_sae.distributed import DistributedModel
from keras_sae.layers import AdaptedLayer
from keras_sae.models._centered import mean_layer
from keras_sae.models._preprocessing import preprocessing_layers

# Inputs whose mean is this many times as large as their spread are reported where nothing subtracts it.
FAR = 2.0
# Entries of the widest layer that are in memory at a time.
_MOST_ENTRIES = 16_000_000
_FIT = inspect.signature(keras.Model.fit)


class AdaptedModel(DistributedModel):
    """A model whose encoder and features may have layers that learn from data: the encoder's learn before the first step."""

    @functools.wraps(DistributedModel.fit)
    def fit(self, x=None, *args, **kwargs):
        return super().fit(self._learn_statistics(x, *args, **kwargs), *args, **kwargs)

    def adapt(self, x):
        """Sets what the model learns from data other than by training: mean, whitening, and the scale of features.

        Layers learn in their order, each from what the layers below make of `x`: the mean of `center=True`, and `ZCAWhitening`
        and others in `preprocessing` and `features`. Statistics are summed in float64 over batches, so memory is bounded, and
        over all workers, so they are the same everywhere.

        `fit` does this for the encoder before the first step, unless it is done already. Call it where `fit` shall not read
        its data twice, or to learn from other data than `fit` trains on. A `Standardize` in `features` depends on trained
        weights: call `adapt` after training.

        Args:
            x: Inputs as for `fit`: an array, of uint8 divided by 255; a data set of inputs or `(inputs, ...)`, of which
                at most the first 50,000 samples are read. It is read once for each layer that learns.

        Raises:
            ValueError: The model has nothing to learn from data.
        """
        layers = self._adapted_layers(self.encoder) + self._adapted_layers(self.features)
        if not layers:
            raise ValueError(
                "`adapt` sets the mean that a model with center=True subtracts from its input, and what other layers learn "
                f"from data. Received: the model {self.name!r}, which has center=False and no such layers. Make it with "
                "center=True, or leave `adapt` out."
            )
        if not self._learn(layers, lambda: read_batches(x)[0], isinstance(x, types.GeneratorType)):
            raise ValueError("The statistics of the data need at least one finite input. Received none.")

    @property
    def adapts(self):
        """Whether the encoder has layers that learn from data before the first step."""
        return bool(self._adapted_layers(self.encoder))

    @property
    def centers(self):
        """Whether the model subtracts the mean of its data."""
        return mean_layer(self.encoder) is not None

    def adapt_encoder(self, x):
        """Sets what the layers of the encoder learn from data, and nothing else. `x` is as for `adapt`."""
        self._learn(self._adapted_layers(self.encoder), lambda: read_batches(x)[0], isinstance(x, types.GeneratorType))

    def adapt_features(self, x, most=10_000):
        """Sets what the layers of `features` learn from data, and nothing else.

        Args:
            x: Inputs as for `adapt`.
            most: Integer. Features are wide, and their statistics need few inputs: of a longer array, at most this many are
                read, evenly spaced.
        """
        if isinstance(x, np.ndarray) and len(x) > most:
            x = x[:: -(-len(x) // most)]
        self._learn(self._adapted_layers(self.features), lambda: read_batches(x)[0], isinstance(x, types.GeneratorType))

    def _adapted_layers(self, part):
        """The layers of the encoder, or those that the features add to it, that learn from data."""
        others = [] if part is self.encoder else self.encoder.layers
        return [layer for layer in part.layers if isinstance(layer, AdaptedLayer) and not any(layer is each for each in others)]

    def _learn_statistics(self, x, *args, **kwargs):
        """Lets the encoder learn from the data of `fit` what it has not learned. Returns what `fit` reads in place of `x`."""
        layers = self._adapted_layers(self.encoder)
        given = _FIT.bind(self, x, *args, **kwargs).arguments
        if not layers:
            return self._check_data(x, given)
        layers = [layer for layer in layers if layer.trainable and not layer.is_adapted]
        if x is None or not layers:
            return x
        once = isinstance(x, types.GeneratorType)
        batches, x = _read(x, given, MOST_OF_STREAM)
        first = [batches]
        self._learn(layers, lambda: first.pop() if first else _read(x, given, MOST_OF_STREAM)[0], once)
        return x

    def _learn(self, layers, read, once):
        """Lets layers learn in their order. Returns whether there was data: else there is nothing to train on either.

        Args:
            layers: List of layers.
            read: Function that gives the pairs of inputs and weights from the start.
            once: Whether it can be called once only.
        """
        if once and len(layers) > 1:
            kept = list(read())
            read = lambda: kept  # noqa: E731
        workers = self._workers()
        for layer in layers:
            below = None if layer.input is self.encoder.inputs[0] else keras.Model(self.encoder.inputs[0], layer.input)
            sums = _sums(layer, below, read())
            if workers:
                sums = _sums_of_all(workers, layer, sums)
            if sums is None or not sums[0]:
                return False
            layer.learn(sums)
        return True

    def _check_data(self, x, given):
        """Warns as `check_centered` does, from the first inputs of what `fit` takes. Returns what it reads in place of `x`."""
        if getattr(self._untracked, "checked", False) or not self.selections or x is None:
            return x
        batches, x = _read(x, {**given, "steps_per_epoch": 1}, most=1)
        for inputs, _ in batches:
            self.check_centered(inputs)
            break
        return x

    def check_centered(self, inputs):
        """Warns, once for a model, if a selection makes the code, inputs are far from centred, and nothing centres them.

        Args:
            inputs: Array, as the model reads it.
        """
        if getattr(self._untracked, "checked", False) or self.adapts or not self.selections:
            return
        if preprocessing_layers(self.encoder):
            return
        self._untracked.checked = True
        offset = _offset(inputs) if len(inputs) > 1 else 0
        if offset > FAR:
            warnings.warn(
                f"The mean of the inputs is {offset:.1f} times as large as their spread about it, and this model does not "
                "subtract it. The units of a selection may then all follow the mean, and most of them die. Make the model "
                "with center=True, begin a custom encoder with keras_sae.layers.SubtractMean, or centre the data.",
                stacklevel=5,
            )


def _offset(inputs):
    """How far inputs are from centred: the size of their mean, in standard deviations about it."""
    rows = np.asarray(inputs, "float64").reshape(len(inputs), -1)
    rows = rows[np.isfinite(rows).all(axis=1)]
    size, spread = np.sum(np.square(rows.mean(axis=0))), np.sum(rows.var(axis=0))
    return math.sqrt(size / spread) if spread > 0 else math.inf if size > 0 else 0.0


def _read(x, given, most):
    return read_batches(x, given.get("sample_weight"), given.get("validation_split"), most, given.get("steps_per_epoch"))


def _sums(layer, below, batches):
    """The sums of a layer's statistics over batches, or None where there are none.

    Args:
        below: Functional model from inputs to what the layer reads; None for the inputs.
    """
    sums = None
    for inputs, weights in batches:
        rows = len(inputs) if below is None else max(1, _MOST_ENTRIES // _widest(below, inputs))
        for start in range(0, len(inputs), rows):
            part = inputs[start : start + rows]
            if below is not None:
                part = keras.ops.convert_to_numpy(below(part, training=False))
            found = layer.statistics(part, None if weights is None else weights[start : start + rows])
            sums = found if sums is None else [one + other for one, other in zip(sums, found, strict=True)]
    return sums


def _widest(model, inputs):
    """The most entries of an input that a layer of the model holds, where maps of unknown size are as large as the inputs."""
    widest = 1
    for layer in model.layers:
        for output in keras.tree.flatten(layer.output):
            sizes = output.shape[1:]
            known = [size or (inputs.shape[axis] if axis < inputs.ndim else 1) for axis, size in enumerate(sizes, start=1)]
            widest = max(widest, math.prod(known))
    return widest


def _sums_of_all(workers, layer, sums):
    """Adds up the sums of the workers. The data may be the same on all, or a share of it on each."""
    if sums is None:
        shape = (0, *(size or 1 for size in layer.input.shape[1:]))
        sums = layer.statistics(np.zeros(shape))
    sizes = np.cumsum([np.size(each) for each in sums])[:-1]
    joined = workers.sum(np.concatenate([np.ravel(each) for each in sums]))
    return [part.reshape(np.shape(each)) for part, each in zip(np.split(np.array(joined), sizes), sums, strict=True)]
