"""Autoencoders that subtract the mean of their data at the input, and add it at the output."""

import functools
import inspect
import warnings

import keras

from keras_sae.datasets import MOST_OF_STREAM, read_batches
from keras_sae.distributed import DistributedModel
from keras_sae.layers import AddMean, SubtractMean, selections_of
from keras_sae.models._data_mean import Moments

# Inputs whose mean is this many times as large as their spread are reported where nothing subtracts it.
FAR = 2.0
_FIT = inspect.signature(keras.Model.fit)


class CenteredModel(DistributedModel):
    """A model whose encoder may begin with a `SubtractMean`: it learns the mean from data before the first step."""

    @functools.wraps(DistributedModel.fit)
    def fit(self, x=None, *args, **kwargs):
        return super().fit(self._learn_mean(x, *args, **kwargs), *args, **kwargs)

    def adapt(self, x):
        """Sets what preprocessing inside the model learns from data: the mean that `center=True` subtracts.

        `fit` does this before the first step, unless the mean is set already. Call it where `fit` shall not read its data
        twice, or to set the mean from other data than `fit` trains on.

        Args:
            x: Inputs as for `fit`: an array, of uint8 divided by 255; a data set of inputs or `(inputs, ...)`, of which
                at most the first 50,000 samples are read.

        Raises:
            ValueError: The model has nothing to learn from data.
        """
        layer = mean_layer(self.encoder)
        if layer is None:
            raise ValueError(
                "`adapt` sets the mean that a model with center=True subtracts from its input. Received: the model "
                f"{self.name!r}, which has center=False. Make it with center=True, or leave `adapt` out."
            )
        if not self._set_mean(layer, read_batches(x)[0]):
            raise ValueError("The mean of the data needs at least one finite input. Received none.")

    @property
    def centers(self):
        """Whether the model subtracts the mean of its data."""
        return mean_layer(self.encoder) is not None

    def _learn_mean(self, x, *args, **kwargs):
        """Sets the mean from the data of `fit`, unless it is set. Returns what `fit` reads in place of `x`."""
        layer = mean_layer(self.encoder)
        given = _FIT.bind(self, x, *args, **kwargs).arguments
        if layer is None:
            return self._check_data(x, given)
        if x is None or not layer.trainable or keras.ops.convert_to_numpy(layer.mean).any():
            return x
        batches, x = _read(x, given, MOST_OF_STREAM)
        self._set_mean(layer, batches)
        return x

    def _set_mean(self, layer, batches):
        """Sets the mean, and returns whether it could: where no input counts, there is none, and nothing to train on."""
        moments = _moments(batches, layer.mean.ndim)
        workers = self._workers()
        if workers:
            moments.sum_over(workers)
        if moments.count:
            layer.mean.assign(moments.mean.reshape(layer.mean.shape))
        return bool(moments.count)

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
        if getattr(self._untracked, "checked", False) or self.centers or not self.selections:
            return
        self._untracked.checked = True
        offset = _moments([(inputs, None)], inputs.ndim - 1).offset if len(inputs) > 1 else 0
        if offset > FAR:
            warnings.warn(
                f"The mean of the inputs is {offset:.1f} times as large as their spread about it, and this model does not "
                "subtract it. The units of a selection may then all follow the mean, and most of them die. Make the model "
                "with center=True, begin a custom encoder with keras_sae.layers.SubtractMean, or centre the data.",
                stacklevel=5,
            )


def _read(x, given, most):
    return read_batches(x, given.get("sample_weight"), given.get("validation_split"), most, given.get("steps_per_epoch"))


def _moments(batches, axes):
    moments = Moments(axes)
    for inputs, weights in batches:
        moments.add(inputs, weights)
    return moments


def mean_layer(encoder):
    """The layer of an encoder that subtracts the mean, or None."""
    return next((layer for layer in encoder.layers if isinstance(layer, SubtractMean)), None)


def resolve_center(center, selections):
    """The argument `center` as a boolean: by default, whether a selection makes the code."""
    if center is None:
        return bool(selections)
    if center not in (True, False):
        raise ValueError(
            "`center` says whether the model subtracts the mean of the data: True, False, or None for the default. "
            f"Received: center={center!r}."
        )
    return bool(center)


def center_config(encoder):
    """The argument `center` for the config of a model; nothing where it is off and would be off by default."""
    center = mean_layer(encoder) is not None
    return {"center": center} if center or selections_of(encoder) else {}


def subtract_mean(inputs, per, dtype):
    """The symbolic input of an encoder, centred."""
    return SubtractMean(per, name="subtract_mean", dtype=dtype)(inputs)


def add_mean(encoder, outputs, activation, dtype):
    """The symbolic output of a decoder with the mean that the encoder subtracts.

    An activation other than linear gives the range of the output, which a sum would leave: its layer has a bias instead.
    """
    layer = mean_layer(encoder)
    if layer is None or keras.activations.get(activation) is not keras.activations.linear:
        return outputs
    return AddMean(layer, name="add_mean", dtype=dtype)(outputs)
