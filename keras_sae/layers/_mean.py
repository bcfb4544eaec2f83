import keras
import numpy as np
from keras import ops

from keras_sae._checks import KnownArguments
from keras_sae.layers._adapted import AdaptedLayer, check_per, rows_of, statistics_shape
from keras_sae.layers._tied import encoding_layer

PER = ("entry", "channel")


@keras.saving.register_keras_serializable(package="keras_sae")
class SubtractMean(AdaptedLayer):
    """Subtracts the mean of the data from its input.

        outputs = inputs - mean

    Units that compete need inputs near zero mean. Otherwise the mean decides who wins, the same few units win for every
    input, and the others die. `mean` is a saved weight that no gradient changes. It is zero until the `adapt` or the `fit` of
    a `keras_sae.models.SparseAutoencoder` whose encoder has this layer sets it.

    Args:
        per: `"entry"` for a mean of each entry of an input, or `"channel"` for one of each index of the last axis, as suits
            convolutions.

    Input shape:
        `(batch, ...)`. With `"entry"`, all sizes but the batch must be known.

    Output shape:
        The same.

    Example:

    >>> layer = SubtractMean()
    >>> layer.build((None, 2))
    >>> layer.mean.assign([1.0, 2.0]) is not None
    True
    >>> keras.ops.convert_to_numpy(layer(np.array([[1.0, 4.0]]))).tolist()
    [[0.0, 2.0]]

    References:
        Bricken et al., "Towards Monosemanticity", 2023, whose autoencoders subtract a bias before they encode.
    """

    def __init__(self, per="entry", **kwargs):
        super().__init__(**kwargs)
        check_per(per, PER)
        self.per = per
        self.supports_masking = True

    def build(self, input_shape):
        self.mean = self.add_statistic("mean", statistics_shape(self, self.per, input_shape), "zeros")

    @property
    def is_adapted(self):
        return bool(ops.convert_to_numpy(self.mean).any())

    def statistics(self, inputs, weights=None):
        rows, weights = rows_of(inputs, len(self.mean.shape), weights)
        return [weights.sum(), np.tensordot(weights, rows, axes=1)]

    def learn(self, sums):
        count, total = sums
        self.mean.assign((total / count).reshape(self.mean.shape))

    def call(self, inputs):
        return ops.subtract(inputs, self.mean)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "per": self.per}


@keras.saving.register_keras_serializable(package="keras_sae")
class AddMean(KnownArguments, keras.layers.Layer):
    """Adds the mean that a `SubtractMean` of the encoder subtracts. Decoders end with it.

        outputs = inputs + subtracted.mean

    Args:
        subtracted: The built `SubtractMean`. The mean is shared, not copied.

    Input shape:
        That of `subtracted`.

    Output shape:
        The same.

    Example:

    >>> subtract = SubtractMean()
    >>> subtract.build((None, 2))
    >>> subtract.mean.assign([1.0, 2.0]) is not None
    True
    >>> keras.ops.convert_to_numpy(AddMean(subtract)(np.zeros((1, 2)))).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, subtracted, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(subtracted, SubtractMean):
            raise TypeError(
                "`subtracted` must be the SubtractMean layer of the encoder. "
                f"Received: subtracted={subtracted!r} of type {type(subtracted).__name__}."
            )
        self.subtracted = subtracted
        self.supports_masking = True

    @property
    def trainable(self):
        """Whether the layer is not frozen. The encoder, which learns the mean, is frozen by itself."""
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        flag = self.subtracted.trainable
        keras.layers.Layer.trainable.fset(self, value)
        self.subtracted.trainable = flag

    def build(self, input_shape):
        if not self.subtracted.built:
            self.subtracted.build(input_shape)

    def call(self, inputs):
        return ops.add(inputs, self.subtracted.mean)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "subtracted": keras.saving.serialize_keras_object(self.subtracted)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "subtracted": encoding_layer(config["subtracted"])})
