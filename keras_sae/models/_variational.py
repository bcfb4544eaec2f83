import math

import keras

from keras_sae.layers import GaussianSample
from keras_sae.models._dense_graph import check_shape, check_width, dense_decoder, dense_encoder
from keras_sae.models._sparse_autoencoder import SparseAutoencoder
from keras_sae.regularizers import GaussianKL


@keras.saving.register_keras_serializable(package="keras_sae")
class VariationalAutoencoder(SparseAutoencoder):
    """A variational autoencoder, whose code is dense: the counter-example to the sparse ones.

        mean, log_variance = hidden(flatten(x)) @ W + b        code ~ N(mean, exp(log_variance))
        total loss = compiled loss + weight * KL(N(mean, exp(log_variance)) || N(0, I))

    The code is drawn in training, and is the mean at inference, where `model.encoder` always answers the same. Noise on every
    unit takes the place of sparsity: it bounds what the code tells, and no unit is silent by design. The decoder draws new
    data from N(0, I): `model.decoder.predict(np.random.normal(size=(n, code_units)))`.

    The compiled loss is a mean over the `D` entries of an input, so the negative evidence lower bound, divided by `D` and up
    to a constant, is

        "binary_crossentropy", with output_activation="sigmoid":                  weight = 1 / D
        "mse", a Gaussian about the reconstruction of variance s^2 each entry:    weight = 2 * s^2 / D

    and a larger weight makes a β-VAE. The default 1 / D is so the bound of the first, and that of the second for a variance
    of 1/2. Units that are not worth their noise fall back to N(0, 1) and tell nothing: a linear model keeps the
    principal directions of variance above `s^2`, and its KL divergence is the sum of `log(variance / s^2) / 2` over them.
    `evaluate` reconstructs from the mean, and so logs a little less than the bound that training lowers.

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        code_units: Integer, at least 1. Width of the code.
        hidden_units: Integer, or a list of integers, each at least 1: the widths of the hidden levels, from the input to the
            code. `()` for a linear encoder.
        weight: Float, at least 0, or None for 1 / D. Weight of the KL divergence.
        hidden_activation: Activation of the hidden levels, on both sides of the code.
        output_activation: Activation of the reconstruction.
        kernel_initializer: Initializer of the kernels.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder; see `SparseAutoencoder`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16".

    Input shape:
        `(batch, *input_shape)`, float.

    Output shape:
        The same. `encoder` gives codes of shape `(batch, code_units)`, and `encoder.get_layer("posterior").output` means
        and log variances side by side, `(batch, 2 * code_units)`. Under a head that is trained, call it as
        `encoder(x, training=False)`, or the head is given draws.

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
        name=None,
        dtype=None,
        **kwargs,
    ):
        input_shape = check_shape(input_shape)
        penalty = GaussianKL(1 / math.prod(input_shape) if weight is None else weight)
        hidden_units = hidden_units if isinstance(hidden_units, (list, tuple)) else [hidden_units]
        hidden_activation = keras.activations.get(hidden_activation)
        levels = [
            {"name": f"encode_{number}", "code": f"level_{number}", "units": units, "activation": hidden_activation}
            for number, units in enumerate((check_width("hidden_units", units) for units in hidden_units), start=1)
        ]
        posterior_units = 2 * check_width("code_units", code_units)
        levels.append({"name": "encode", "code": "posterior", "units": posterior_units, "activation": None})
        levels = [{**level, "selections": []} for level in levels]
        kernel_initializer = keras.initializers.get(kernel_initializer)
        encoder = dense_encoder(input_shape, levels, kernel_initializer, None, dtype)
        code = GaussianSample(name="code", dtype=dtype)(encoder.outputs[0])
        encoder = keras.Model(encoder.inputs[0], code, name="encoder")
        activations = [hidden_activation] * len(hidden_units) + [keras.activations.get(output_activation)]
        decoder = dense_decoder(encoder, levels, activations, False, kernel_initializer, None, dtype)
        super().__init__(encoder, decoder, sparsity={"posterior": penalty}, corruption=corruption, name=name, **kwargs)

    def get_config(self):
        hidden = [layer for layer in self.encoder.layers if layer.name.startswith("encode_")]
        encode = self.encoder.get_layer("encode")
        return {
            "name": self.name,
            "trainable": self.trainable,
            "input_shape": self.encoder.inputs[0].shape[1:],
            "code_units": encode.units // 2,
            "hidden_units": [layer.units for layer in hidden],
            "weight": self.penalties[0].weight,
            "hidden_activation": keras.activations.serialize(hidden[0].activation) if hidden else None,
            "output_activation": keras.activations.serialize(
                self.decoder.get_layer("decode_1" if hidden else "decode").activation
            ),
            "kernel_initializer": keras.initializers.serialize(encode.kernel_initializer),
            "corruption": keras.saving.serialize_keras_object(self.corruption),
            "dtype": keras.saving.serialize_keras_object(encode.dtype_policy),
        }
