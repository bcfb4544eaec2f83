import math

import keras

from keras_sae.layers import GaussianSample
from keras_sae.models._centered import center_config, resolve_center
from keras_sae.models._changes import original_dtype
from keras_sae.models._dense_graph import check_shape, check_width, check_widths, dense_decoder, dense_encoder
from keras_sae.models._level import Level
from keras_sae.models._preprocessing import preprocessing_config
from keras_sae.models._sparse_autoencoder import SparseAutoencoder
from keras_sae.regularizers import GaussianKL


@keras.saving.register_keras_serializable(package="keras_sae")
class VariationalAutoencoder(SparseAutoencoder):
    """A variational autoencoder. Its code is dense: the counter-example to the sparse ones.

        mean, log_variance = hidden(flatten(x)) @ W + b        code ~ N(mean, exp(log_variance))
        total loss = compiled loss + weight * KL(N(mean, exp(log_variance)) || N(0, I))

    In training the code is drawn; at inference it is the mean, so `model.encoder` is deterministic. Noise on every unit takes
    the place of sparsity: it limits the information in the code, and no unit is silent by design. To generate data, decode
    draws from N(0, I): `model.decoder.predict(np.random.normal(size=(n, code_units)))`.

    The compiled loss is a mean over the `D` entries of an input. The total loss is then the negative evidence lower bound,
    divided by `D` and up to a constant, with

        "binary_crossentropy", with output_activation="sigmoid":                  weight = 1 / D
        "mse", a Gaussian about the reconstruction of variance s^2 each entry:    weight = 2 * s^2 / D

    The default 1 / D gives the bound of the first, and that of the second for a variance of 1/2. A larger weight makes a
    β-VAE. Units that cost more than they help collapse to N(0, 1) and carry no information: a linear model keeps the
    principal directions of variance above `s^2`, and its KL divergence is the sum of `log(variance / s^2) / 2` over them.
    `evaluate` reconstructs from the mean, so it logs a slightly lower value than the bound that training minimises.

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        code_units: Integer, at least 1. Width of the code.
        hidden_units: Integer or list of integers, each at least 1. The widths of the hidden levels, from the input to the
            code. `()` for a linear encoder.
        weight: Float, at least 0, or None for 1 / D. Weight of the KL divergence.
        hidden_activation: Activation of the hidden levels, on both sides of the code.
        output_activation: Activation of the reconstruction.
        kernel_initializer: Initializer of the kernels.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder; see `SparseAutoencoder`.
        center: Whether the model subtracts the mean of the data, of each entry, from its input and adds it to its
            reconstruction. `fit` or `adapt` sets the mean. None, the default, stands for False. See
            `docs/centring.md`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16".
        kernel_regularizer: Regularizer of the kernels, such as `keras.regularizers.L2(1e-4)`; see `SparseAutoencoder`.
        preprocessing: A layer, or a list of layers, that the encoder begins with and the decoder does not undo:
            `[ContrastNormalization(), ZCAWhitening()]`. They read each input as a vector. The model reconstructs what they
            give. `fit` or `adapt` sets what they learn from data. See `docs/features.md`.
        features: What classifiers read, where it is not the code; see `SparseAutoencoder`.

    Input shape:
        `(batch, *input_shape)`, float.

    Output shape:
        The same. `encoder` gives codes of shape `(batch, code_units)`. `encoder.get_layer("posterior").output` holds means
        and log variances side by side, `(batch, 2 * code_units)`. Under a head in training, call
        `encoder(x, training=False)`; otherwise the head gets random draws.

    Example:

    >>> model = VariationalAutoencoder((28, 28, 1), code_units=10, output_activation="sigmoid")
    >>> model.encoder.get_layer("posterior").output.shape
    (None, 20)
    >>> model.compile("adam", "binary_crossentropy")
    >>> history = model.fit(np.random.rand(32, 28, 28, 1), verbose=0)
    >>> sorted(history.history)
    ['loss', 'posterior_gaussian_kl', 'reconstruction_loss']
    >>> model.decoder.predict(np.random.normal(size=(5, 10)), verbose=0).shape
    (5, 28, 28, 1)

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2013. Higgins et al., "beta-VAE", ICLR 2017. Lucas, Tucker,
        Grosse and Norouzi, "Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse", NeurIPS 2019.
    """

    architecture = "variational"

    def __init__(
        self,
        input_shape,
        code_units,
        hidden_units=(256,),
        weight=None,
        hidden_activation="relu",
        output_activation="linear",
        kernel_initializer="glorot_uniform",
        corruption=None,
        center=None,
        name=None,
        dtype=None,
        kernel_regularizer=None,
        preprocessing=None,
        features=None,
        **kwargs,
    ):
        input_shape = check_shape(input_shape)
        penalty = GaussianKL(1 / math.prod(input_shape) if weight is None else weight)
        hidden_units = check_widths("hidden_units", hidden_units)
        posterior_units = 2 * check_width("code_units", code_units)
        hidden_activation = keras.activations.get(hidden_activation)
        levels = (
            *(Level(f"level_{number}", units, hidden_activation) for number, units in enumerate(hidden_units, start=1)),
            Level("posterior", posterior_units, keras.activations.linear),
        )
        kernel_initializer = keras.initializers.get(kernel_initializer)
        center = resolve_center(center, [])
        encoder = dense_encoder(input_shape, levels, kernel_initializer, None, dtype, center, preprocessing)
        code = GaussianSample(name="code", dtype=dtype)(encoder.outputs[0])
        encoder = keras.Model(encoder.inputs[0], code, name="encoder")
        decoder = dense_decoder(encoder, levels, output_activation, False, kernel_initializer, None, dtype)
        super().__init__(
            encoder,
            decoder,
            sparsity={"posterior": penalty},
            corruption=corruption,
            name=name,
            kernel_regularizer=kernel_regularizer,
            features=features,
            **kwargs,
        )
        self._untracked.levels = levels

    def get_config(self):
        *hidden, posterior = self._untracked.levels
        encode = self.encoder.get_layer("encode")
        decode = self.decoder.get_layer(self._untracked.levels[0].layer_name("decode"))
        return {
            **center_config(self.encoder),
            **preprocessing_config(self.encoder),
            "name": self.name,
            "trainable": self.trainable,
            "input_shape": self.encoder.inputs[0].shape[1:],
            "code_units": posterior.units // 2,
            "hidden_units": [level.units for level in hidden],
            "weight": self.penalties[0].weight,
            "hidden_activation": keras.activations.serialize(hidden[0].activation) if hidden else None,
            "output_activation": keras.activations.serialize(decode.activation),
            "kernel_initializer": keras.initializers.serialize(encode.kernel_initializer),
            "corruption": keras.saving.serialize_keras_object(self.corruption),
            "dtype": original_dtype(encode),
            **self.optional_config(),
        }
