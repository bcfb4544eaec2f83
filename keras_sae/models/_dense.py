import keras

from keras_sae.models._centered import resolve_center
from keras_sae.models._dense_graph import check_shape, check_width, config_of_pair, dense_pair
from keras_sae.models._level import make_levels, selections_in
from keras_sae.models._sparse_autoencoder import SparseAutoencoder


@keras.saving.register_keras_serializable(package="keras_sae")
class DenseAutoencoder(SparseAutoencoder):
    """The classical sparse autoencoder, with one hidden layer.

        code = select(activation(flatten(x - mean) @ W + b))        reconstruction = output_activation(code @ V + c) + mean

    The mean is that of the data, or zero; see `center`.

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        code_units: Integer, at least 1. Width of the code. More units than inputs make an overcomplete code, which needs a
            selection or a penalty.
        sparsity: A selection layer, a penalty (any `keras.Regularizer`), a list of both, or their Keras configs. None
            makes a plain autoencoder.
        tied: Whether the decoder reads the transposed kernel of the encoder, `V = transpose(W)`.
        activation: Activation of the code, before selections. By default the one that the mechanism is defined for: "linear"
            for `KSparse`, "sigmoid" or "tanh" for a KL penalty; otherwise "relu".
        output_activation: Activation of the reconstruction. The default "linear" suits data of any range.
        kernel_initializer: Initializer of the kernels.
        unit_norm: Whether the weights that decode each unit are kept at norm 1, from the start and after every step
            (`keras.constraints.UnitNorm`). An L1 penalty needs this, or tying: otherwise the code can shrink while the
            decoder grows.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder, such as
            `keras_sae.layers.MaskingNoise(0.3)`; see `SparseAutoencoder`.
        center: Whether the model subtracts the mean of the data, of each entry, from its input and adds it to its
            reconstruction. `fit` or `adapt` sets the mean. None, the default: where a selection makes the
            code. With another `output_activation` than linear, the mean is not added. See `docs/centring.md`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16". Selections keep their own.
        kernel_regularizer: Regularizer of the kernels, such as `keras.regularizers.L2(1e-4)`; see `SparseAutoencoder`.
        preprocessing: A layer, or a list of layers, that the encoder begins with and the decoder does not undo:
            `[ContrastNormalization(), ZCAWhitening()]`. They read each input as a vector. The model reconstructs what they
            give. `fit` or `adapt` sets what they learn from data. See `docs/features.md`.
        features: What classifiers read, where it is not the code; see `SparseAutoencoder`.

    Input shape:
        `(batch, *input_shape)`, float. The pretrained models expect images in [0, 1].

    Output shape:
        The same. `encoder` gives codes of shape `(batch, code_units)`.

    Example:

    >>> model = DenseAutoencoder((28, 28, 1), code_units=100, sparsity=KSparse(k=10), tied=True)
    >>> model.encoder.get_layer("code").output.shape
    (None, 100)
    >>> model.count_params() == 784 * 100 + 100 + 784 + 784 + 1        # one kernel, two biases, the mean, and the current k
    True

    References:
        Ng, "Sparse autoencoder", CS294A lecture notes, 2011. Makhzani and Frey, "k-Sparse Autoencoders", 2013.
    """

    architecture = "dense"

    def __init__(
        self,
        input_shape,
        code_units,
        sparsity=None,
        tied=False,
        activation=None,
        output_activation="linear",
        kernel_initializer="glorot_uniform",
        unit_norm=False,
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
        levels, penalties = make_levels([check_width("code_units", code_units)], sparsity, activation)
        center = resolve_center(center, selections_in(levels), preprocessing)
        arguments = tied, unit_norm, kernel_initializer, dtype, center, preprocessing
        encoder, decoder = dense_pair(input_shape, levels, output_activation, *arguments)
        super().__init__(
            encoder,
            decoder,
            sparsity=penalties,
            corruption=corruption,
            name=name,
            kernel_regularizer=kernel_regularizer,
            features=features,
            **kwargs,
        )
        self._untracked.levels = levels

    def get_config(self):
        config = config_of_pair(self, self._untracked.levels)
        del config["hidden_units"], config["hidden_activation"]  # there is no level below the code
        return config
