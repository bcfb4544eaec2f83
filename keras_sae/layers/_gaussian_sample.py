import keras
from keras import ops

from keras_sae._checks import KnownArguments
from keras_sae.distributed import SeedGenerator


@keras.saving.register_keras_serializable(package="keras_sae")
class GaussianSample(KnownArguments, keras.layers.Layer):
    """Draws each entry of a code from its own Gaussian in training, and returns the mean at inference.

    The last axis of the input holds the means, then the logarithms of the variances:

        code = mean + exp(log_variance / 2) * noise        noise ~ N(0, 1), a new draw in each call

    With this reparameterisation gradients flow through the draw to means and variances. The deviation is computed in float32,
    whatever the compute dtype.

    Args:
        seed: Integer or None. Seed of the draws.

    Input shape:
        `(batch, ..., 2 * units)`.

    Output shape:
        `(batch, ..., units)`.

    Example:

    >>> layer = GaussianSample(seed=1)
    >>> posterior = np.tile(np.array([[3.0, np.log(0.25)]], "float32"), (10_000, 1))     # mean 3, deviation 0.5
    >>> keras.ops.convert_to_numpy(layer(posterior[:1])).tolist()
    [[3.0]]
    >>> drawn = keras.ops.convert_to_numpy(layer(posterior, training=True))
    >>> print(round(float(drawn.mean()), 1), round(float(drawn.std()), 1))
    3.0 0.5

    Reference:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2013, section 2.4, https://arxiv.org/abs/1312.6114.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def build(self, input_shape):
        if input_shape[-1] is None or input_shape[-1] % 2:
            raise ValueError(
                "The last axis holds a mean and a log variance for each unit of the code, so its size must be known and even. "
                f"Received: input_shape={tuple(input_shape)}. Put a layer with twice the units of the code before it."
            )
        self.built = True

    def call(self, inputs, training=False):
        mean, log_variance = ops.split(inputs, 2, axis=-1)
        if not training:
            return mean
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        noise = keras.random.normal(ops.shape(mean), dtype=dtype, seed=self.seed_generator)
        return mean + ops.cast(ops.exp(ops.cast(log_variance, dtype) / 2) * noise, mean.dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
