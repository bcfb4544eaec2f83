import math
import operator

import keras

from keras_sae.layers import TiedDense
from keras_sae.models.sparse_autoencoder import SparseAutoencoder, append_selections
from keras_sae.models.sparsity import join_sparsity, penalties_of, resolve_activation, serialize_sparsity, split_sparsity


@keras.saving.register_keras_serializable(package="keras_sae")
class DenseAutoencoder(SparseAutoencoder):
    """A sparse autoencoder of one hidden layer, the classical one.

        code = select(activation(flatten(x) @ W + b))        reconstruction = output_activation(code @ V + c)

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        code_units: Integer, at least 1. Width of the code; more units than inputs make an overcomplete code, which needs a
            mechanism.
        sparsity: A selection layer, a penalty (any `keras.Regularizer`), a list of both, or their Keras configs. None
            makes a plain autoencoder.
        tied: Whether the decoder reads the transposed kernel of the encoder, `V = transpose(W)`.
        activation: Activation of the code, before selections. Defaults to what the mechanism is defined for: "linear" for
            `KSparse`, "sigmoid" or "tanh" for a KL penalty; otherwise "relu".
        output_activation: Activation of the reconstruction. The default "linear" suits data of any range.
        kernel_initializer: Initializer of the kernels.
        unit_norm: Whether the weights by which each unit is decoded are kept at norm 1, from the start and after every step
            (`keras.constraints.UnitNorm`). An L1 penalty needs this, or tying: a code could shrink otherwise, and the
            decoder grow.
        dtype: Dtype policy of the layers made here, such as "mixed_float16". Selections keep the one they were made with.

    Input shape:
        `(batch, *input_shape)`, float. The pretrained models expect images in [0, 1].

    Output shape:
        The same. `encoder` gives codes of shape `(batch, code_units)`.

    Example:

    >>> model = DenseAutoencoder((28, 28, 1), code_units=100, sparsity=KSparse(k=10), tied=True)
    >>> model.encoder.get_layer("code").output.shape
    (None, 100)
    >>> model.count_params() == 784 * 100 + 100 + 784 + 1        # one kernel, two biases, and the current k
    True

    References:
        Ng, "Sparse autoencoder", CS294A lecture notes, 2011. Makhzani and Frey, "k-Sparse Autoencoders", 2013.
    """

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
        name=None,
        dtype=None,
        **kwargs,
    ):
        input_shape = _checked_shape(input_shape)
        if isinstance(code_units, bool) or not hasattr(code_units, "__index__") or code_units < 1:
            raise ValueError(
                f"`code_units` is the width of the code, an integer of at least 1. Received: code_units={code_units!r}."
            )
        code_units = operator.index(code_units)
        selections, charges = split_sparsity(sparsity)
        activation = resolve_activation(activation, [*selections, *penalties_of("code", charges)])
        output_activation = keras.activations.get(output_activation)
        kernel_initializer = keras.initializers.get(kernel_initializer)
        inputs_count = math.prod(input_shape)

        inputs = keras.Input(input_shape, name="inputs")
        flat = keras.layers.Flatten(name="flatten", dtype=dtype)(inputs) if len(input_shape) > 1 else inputs
        encode = keras.layers.Dense(
            code_units,
            activation=activation,
            kernel_initializer=kernel_initializer,
            kernel_constraint=keras.constraints.UnitNorm(axis=0) if tied and unit_norm else None,
            name="encode",
            dtype=dtype,
        )
        encoder = keras.Model(inputs, append_selections(encode(flat), selections), name="encoder")

        codes = keras.Input((code_units,), name="codes", dtype=encoder.outputs[0].dtype)
        if tied:
            decode = TiedDense(encode, activation=output_activation, name="decode", dtype=dtype)
        else:
            decode = keras.layers.Dense(
                inputs_count,
                activation=output_activation,
                # A copy: used twice, one initializer object would draw the same numbers.
                kernel_initializer=keras.initializers.get(keras.initializers.serialize(kernel_initializer)),
                kernel_constraint=keras.constraints.UnitNorm(axis=1) if unit_norm else None,
                name="decode",
                dtype=dtype,
            )
        outputs = decode(codes)
        if len(input_shape) > 1:
            outputs = keras.layers.Reshape(input_shape, name="restore_shape", dtype=dtype)(outputs)
        decoder = keras.Model(codes, outputs, name="decoder")
        if unit_norm:
            kernel = (encode if tied else decode).kernel
            kernel.assign(kernel.constraint(kernel))

        super().__init__(encoder, decoder, sparsity=join_sparsity([], charges), name=name, **kwargs)

    def get_config(self):
        # Read off the model rather than kept: while Keras loads a model, configs made then would carry marks of that load.
        encode, decode = self.encoder.get_layer("encode"), self.decoder.get_layer("decode")
        selections = self.encoder.layers[self.encoder.layers.index(encode) + 1 : -1]  # between it and "code"
        return {
            "name": self.name,
            "trainable": self.trainable,
            "input_shape": self.encoder.inputs[0].shape[1:],
            "code_units": encode.units,
            "sparsity": serialize_sparsity(selections, self.charges),
            "tied": isinstance(decode, TiedDense),
            "activation": keras.activations.serialize(encode.activation),
            "output_activation": keras.activations.serialize(decode.activation),
            "kernel_initializer": keras.initializers.serialize(encode.kernel_initializer),
            "unit_norm": (encode if isinstance(decode, TiedDense) else decode).kernel.constraint is not None,
            "dtype": keras.saving.serialize_keras_object(encode.dtype_policy),
        }


def _checked_shape(input_shape):
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else (input_shape,)
    if not shape or any(isinstance(size, bool) or not hasattr(size, "__index__") or size < 1 for size in shape):
        raise ValueError(
            "`input_shape` is the shape of one input without the batch axis, and a dense autoencoder must know every size "
            f"in it. Received: input_shape={input_shape!r}. Give a tuple of positive integers such as (28, 28, 1)."
        )
    return tuple(map(operator.index, shape))
