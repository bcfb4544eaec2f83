import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_number
from keras_sae.distributed import SeedGenerator


class _Noise(KnownArguments, keras.layers.Layer):
    """Corrupts a share of the entries of its input in training, each independently of the others."""

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = check_number("rate", rate, "is the share of entries that are corrupted", at_least=0, at_most=1)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        draws = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        return self.corrupt(inputs, draws)

    def corrupt(self, inputs, draws):
        """The input, corrupted where `draws`, uniform in [0, 1), are below `rate`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_sae")
class MaskingNoise(_Noise):
    """Sets a share of the entries of its input to zero in training.

    This is the corruption of the denoising autoencoder. It leaves the other entries unchanged, unlike `keras.layers.Dropout`,
    which scales them by `1 / (1 - rate)`.

    Args:
        rate: Float in [0, 1]. The probability that an entry becomes zero.
        seed: Integer or None. Seed of the draws.

    Input shape:
        Any.

    Output shape:
        The same.

    Example:

    >>> x = np.ones((1, 1000), "float32")
    >>> masked = keras.ops.convert_to_numpy(MaskingNoise(0.3, seed=1)(x, training=True))
    >>> sorted(set(masked.ravel().tolist())), bool(0.6 < masked.mean() < 0.8)
    ([0.0, 1.0], True)
    >>> bool((keras.ops.convert_to_numpy(MaskingNoise(0.3)(x)) == 1).all())
    True

    Reference:
        Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked Denoising Autoencoders", JMLR 11, 2010, section 3.3.
    """

    def corrupt(self, inputs, draws):
        return ops.where(draws < self.rate, ops.zeros_like(inputs), inputs)


@keras.saving.register_keras_serializable(package="keras_sae")
class SaltAndPepperNoise(_Noise):
    """Sets a share of the entries of its input to the lowest or the highest value in training, with equal probability.

    Args:
        rate: Float in [0, 1]. The probability that an entry is set.
        low, high: Floats, the two values: black and white for images.
        seed: Integer or None. Seed of the draws.

    Input shape:
        Any.

    Output shape:
        The same.

    Example:

    >>> x = np.full((1, 1000), 0.5, "float32")
    >>> noisy = keras.ops.convert_to_numpy(SaltAndPepperNoise(0.4, seed=1)(x, training=True))
    >>> sorted(set(noisy.ravel().tolist()))
    [0.0, 0.5, 1.0]

    Reference:
        Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked Denoising Autoencoders", JMLR 11, 2010, section 3.3.
    """

    def __init__(self, rate, low=0.0, high=1.0, seed=None, **kwargs):
        super().__init__(rate, seed=seed, **kwargs)
        self.low = check_number("low", low, "is the value of pepper")
        self.high = check_number("high", high, "is the value of salt, larger than `low`,", above=self.low)

    def corrupt(self, inputs, draws):
        low, high = (ops.cast(value, inputs.dtype) for value in (self.low, self.high))
        set_to = ops.where(draws < self.rate / 2, low, high)
        return ops.where(draws < self.rate, set_to, inputs)

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high}
