import keras

from keras_sae.models._centered import resolve_center
from keras_sae.models._dense_graph import check_shape, check_width, check_widths, config_of_pair, dense_pair
from keras_sae.models._level import make_levels, selections_in
from keras_sae.models._sparse_autoencoder import SparseAutoencoder


@keras.saving.register_keras_serializable(package="keras_sae")
class DeepAutoencoder(SparseAutoencoder):
    """A sparse autoencoder of several hidden levels, trained end to end.

        level_1 = select(activation(flatten(x) @ W_1 + b_1)), level_2 = ..., code = select(activation(... @ W + b))

    The decoder mirrors the encoder, level by level. Every level can have its own selections and penalties.

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        hidden_units: Integer or list of integers, each at least 1. The widths of the hidden levels, from the input to the
            code. An empty list makes a `DenseAutoencoder`.
        code_units: Integer, at least 1. Width of the code.
        sparsity: Mechanisms of the code: a selection layer, a penalty, a list of both, or their Keras configs. Or a
            dictionary of these by level, `{"level_1": ActivityKL(0.1), "level_2": ..., "code": KSparse(25)}`.
        tied: Whether the decoder reads the transposed kernels of the encoder.
        activation: Activation of the code, before selections. By default the one that its mechanism is defined for, otherwise
            "relu"; see `DenseAutoencoder`.
        hidden_activation: Activation of the hidden levels, on both sides of the code, or a list of one for each. By default
            the one that the mechanism of the level is defined for, otherwise "relu".
        output_activation: Activation of the reconstruction.
        kernel_initializer: Initializer of the kernels.
        unit_norm: Whether the weights that decode each unit of a level are kept at norm 1.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder; see `SparseAutoencoder`.
        center: Whether the model subtracts the mean of the data, of each entry, from its input and adds it to its
            reconstruction. `fit` or `adapt` sets the mean. None, the default: where a selection makes the
            code. With another `output_activation` than linear, the mean is not added. See `docs/centring.md`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16".
        kernel_regularizer: Regularizer of the kernels, such as `keras.regularizers.L2(1e-4)`; see `SparseAutoencoder`.
        preprocessing: A layer, or a list of layers, that the encoder begins with and the decoder does not undo:
            `[ContrastNormalization(), ZCAWhitening()]`. They read each input as a vector. The model reconstructs what they
            give. `fit` or `adapt` sets what they learn from data. See `docs/features.md`.
        features: What classifiers read, where it is not the code; see `SparseAutoencoder`.

    Input shape:
        `(batch, *input_shape)`, float.

    Output shape:
        The same. `encoder` gives codes of shape `(batch, code_units)`. `encoder.get_layer("level_1").output` is the code of
        the first hidden level, after its selections.

    Example:

    >>> model = DeepAutoencoder((28, 28, 1), [500, 200], code_units=50, sparsity={"level_1": ActivityKL(), "code": KSparse(5)})
    >>> model.encoder.get_layer("level_2").output.shape
    (None, 200)
    >>> [layer.name for layer in model.decoder.layers]
    ['codes', 'decode', 'decode_2', 'decode_1', 'restore_shape', 'add_mean']

    References:
        Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006. Makhzani and
        Frey, "k-Sparse Autoencoders", 2013, section 4.5.
    """

    architecture = "deep"

    def __init__(
        self,
        input_shape,
        hidden_units,
        code_units,
        sparsity=None,
        tied=False,
        activation=None,
        hidden_activation=None,
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
        units = [
            *check_widths("hidden_units", hidden_units),
            check_width("code_units", code_units),
        ]
        levels, penalties = make_levels(units, sparsity, activation, hidden_activation)
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
        return config_of_pair(self, self._untracked.levels)
