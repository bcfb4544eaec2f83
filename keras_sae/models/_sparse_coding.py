import keras

from keras_sae.layers import FISTA, LISTA, TiedDense
from keras_sae.models._centered import add_mean, center_config, resolve_center
from keras_sae.models._changes import original_dtype
from keras_sae.models._code import append_selections
from keras_sae.models._dense_graph import check_shape, check_width, flat_input
from keras_sae.models._preprocessing import preprocessing_config, shape_to_encode
from keras_sae.models._sparse_autoencoder import SparseAutoencoder
from keras_sae.models._sparsity import read_sparsity
from keras_sae.regularizers import ActivityLog

_INFERENCES = {"fista": FISTA, "lista": LISTA}


@keras.saving.register_keras_serializable(package="keras_sae")
class SparseCodingAutoencoder(SparseAutoencoder):
    """Sparse coding: a dictionary that decodes, and an encoder that infers the best code in it.

        code = argmin over a of  mean over D pixels of (x - Φ a)^2 + weight * sum_j S(a_j)       reconstruction = Φ code

    S is `|a|` or `log(1 + a^2)`. Encoder and decoder share one kernel Φ, `(pixels, units)`, whose columns, the atoms, have
    norm 1. Compiled with the loss "mse", the total loss is the mean of that energy: the inference minimises it over the code,
    and training over the dictionary.

    With `inference="fista"` every code is inferred by descent, in a fixed number of steps. Training treats codes as
    constants, as in classical alternating minimisation: gradients reach the dictionary through the decoder only, and no
    gradient flows through the encoder.

    With `inference="lista"` the encoder is a network of a few learned steps. It starts as plain descent in the initial
    dictionary, and is trained with the dictionary on the same total loss. Gradients flow through it.

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        code_units: Integer, at least 1. Width of the code, the number of atoms.
        sparsity: The penalty in the energy, or its Keras config: `keras.regularizers.L1(weight)` for `|a|`, which makes exact
            zeros, or `keras_sae.regularizers.ActivityLog(weight)` for `log(1 + a^2)`, with "fista" only. A published λ in
            `1/2 |x - Φ a|^2 + λ S(a)` is a weight of `2 λ / D`, and in `|x - Φ a|^2 + λ S(a)` one of `λ / D`. A
            `PenaltySchedule` changes the penalty in the loss, but not in the inference.
        inference: "fista" or "lista"; see `keras_sae.layers.FISTA` and `keras_sae.layers.LISTA`.
        steps: Integer, at least 1. Steps of the inference, by default 50 for "fista" and 5 for "lista".
        kernel_initializer: Initializer of the dictionary. Its atoms are then scaled to norm 1.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder; see `SparseAutoencoder`.
        center: Whether the model subtracts the mean of the data, of each entry, from its input and adds it to its
            reconstruction. `fit` or `adapt` sets the mean. None, the default, stands for False. See
            `docs/centring.md`.
        dtype: Dtype policy of the layers made here, such as "mixed_float16". The inference always iterates in float32.
        kernel_regularizer: Regularizer of the kernels, such as `keras.regularizers.L2(1e-4)`; see `SparseAutoencoder`.
        preprocessing: A layer, or a list of layers, that the encoder begins with and the decoder does not undo:
            `[ContrastNormalization(), ZCAWhitening()]`. They read each input as a vector. The model reconstructs what they
            give. `fit` or `adapt` sets what they learn from data. See `docs/features.md`.
        features: What classifiers read, where it is not the code; see `SparseAutoencoder`.

    Input shape:
        `(batch, *input_shape)`, float. Use center=True, or centre or whiten the data: the dictionary has no bias.

    Output shape:
        The same. `encoder` gives codes of shape `(batch, code_units)`. `encoder.get_layer("encode").kernel` is the dictionary.

    Example:

    >>> model = SparseCodingAutoencoder((8, 8, 1), code_units=128, sparsity=keras.regularizers.L1(0.01))
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.random.default_rng(0).normal(size=(32, 8, 8, 1)), verbose=0)
    >>> sorted(history.history)
    ['l1', 'loss', 'reconstruction_loss']
    >>> model.count_params() == 64 * 128 + 1        # a dictionary, and the scale of the penalty
    True

    References:
        Olshausen and Field, "Sparse Coding with an Overcomplete Basis Set", Vision Research 37, 1997. Beck and Teboulle, "A
        Fast Iterative Shrinkage-Thresholding Algorithm", 2009. Gregor and LeCun, "Learning Fast Approximations of Sparse
        Coding", 2010.
    """

    architecture = "sparse_coding"

    def __init__(
        self,
        input_shape,
        code_units,
        sparsity,
        inference="fista",
        steps=None,
        kernel_initializer="random_normal",
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
        if inference not in _INFERENCES:
            raise ValueError(
                '`inference` must be "fista", which infers codes by descent, or "lista", a learned network. '
                f"Received: inference={inference!r}."
            )
        encode = _INFERENCES[inference](
            check_width("code_units", code_units),
            _energy(sparsity),
            **({} if steps is None else {"steps": steps}),
            kernel_initializer=kernel_initializer,
            name="encode",
            dtype=dtype,
        )
        inputs = keras.Input(input_shape, name="inputs")
        code = flat_input(inputs, preprocessing, resolve_center(center, []), dtype)
        encoder = keras.Model(inputs, append_selections(encode(code), []), name="encoder")
        codes = keras.Input(encoder.outputs[0].shape[1:], name="codes", dtype=encoder.outputs[0].dtype)
        outputs = TiedDense(encode, use_bias=False, name="decode", dtype=dtype)(codes)
        if len(shape_to_encode(encoder)) > 1:
            outputs = keras.layers.Reshape(shape_to_encode(encoder), name="restore_shape", dtype=dtype)(outputs)
        decoder = keras.Model(codes, add_mean(encoder, outputs, None, dtype), name="decoder")
        super().__init__(
            encoder,
            decoder,
            sparsity=encode.penalty,
            corruption=corruption,
            name=name,
            kernel_regularizer=kernel_regularizer,
            features=features,
            **kwargs,
        )

    def get_config(self):
        encode = self.encoder.get_layer("encode")
        return {
            **center_config(self.encoder),
            **preprocessing_config(self.encoder),
            "name": self.name,
            "trainable": self.trainable,
            "input_shape": self.encoder.inputs[0].shape[1:],
            "code_units": encode.units,
            "sparsity": keras.saving.serialize_keras_object(encode.penalty),
            "inference": "fista" if isinstance(encode, FISTA) else "lista",
            "steps": encode.steps,
            "kernel_initializer": keras.initializers.serialize(encode.kernel_initializer),
            "corruption": keras.saving.serialize_keras_object(self.corruption),
            "dtype": original_dtype(encode),
            **self.optional_config(),
        }


def _energy(sparsity):
    """The one penalty of the energy."""
    selections, penalties = read_sparsity(sparsity)
    penalty = penalties["code"][0] if list(penalties) == ["code"] and len(penalties["code"]) == 1 else None
    if selections["code"] or not isinstance(penalty, keras.regularizers.L1 | ActivityLog):
        raise ValueError(
            "`sparsity` is the penalty in the energy that a code minimises, one that the inference can descend: "
            "keras.regularizers.L1(weight) or keras_sae.regularizers.ActivityLog(weight). "
            f"Received: sparsity={sparsity!r}. Use other mechanisms in a DenseAutoencoder."
        )
    return penalty
