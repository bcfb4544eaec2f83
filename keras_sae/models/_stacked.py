import contextlib
import sys

import keras
from keras import ops

from keras_sae.models._deep import DeepAutoencoder
from keras_sae.models._level import level_names, one_each
from keras_sae.models._preprocessing import PREPROCESSED
from keras_sae.models._sparse_autoencoder import SparseAutoencoder
from keras_sae.models._sparsity import by_level


@keras.saving.register_keras_serializable(package="keras_sae")
class StackedAutoencoder(DeepAutoencoder):
    """A sparse autoencoder trained level by level: each level learns to reconstruct the code of the level below.

        level_0 = x        level_i = select(activation(level_(i-1) @ W_i + b_i))        decode_i(level_i) ~ level_(i-1)

    `pretrain` trains one level after the other. Then fine-tune the whole as any Keras model: with `compile` and `fit` to
    reconstruct, or with its `encoder` under a classifier. The decoders of the levels together make the decoder of the whole.

    Args:
        input_shape: Integer or tuple, the shape of one input. Anything but a vector is flattened and restored.
        code_units: Integer or list of integers, each at least 1. The width of each level, from the input to the code.
        sparsity: Mechanisms that every level gets a copy of: a selection layer, a penalty, a list of both, or their Keras
            configs. Or a dictionary of these by level, `{"level_1": ActivityKL(0.1), "code": KSparse(25)}`. The last level
            is called "code".
        tied: Whether each decoder reads the transposed kernel of its level.
        activation: Activation of the levels, or a list of one for each. By default the one that the level's mechanism is
            defined for, otherwise "relu"; see `DenseAutoencoder`. The level above is decoded with the same activation.
        output_activation: Activation of the reconstruction of the input.
        kernel_initializer: Initializer of the kernels.
        unit_norm: Whether the weights that decode each unit of a level are kept at norm 1.
        corruption: A layer that corrupts in training, such as `keras_sae.layers.MaskingNoise(0.3)`: the input of each level
            in `pretrain`, and the input of the whole model in `fit`.
        center: Whether the first level subtracts the mean of the data, of each entry, from its input and adds it to its
            reconstruction. `fit`, `pretrain` or `adapt` sets the mean. None, the default: where a selection makes the
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
        The same. `encoder` gives codes of shape `(batch, code_units[-1])`.

    Example:

    >>> stack = StackedAutoencoder(64, [32, 16], sparsity=ActivityKL(0.1, weight=0.1))
    >>> x = np.random.default_rng(0).uniform(size=(128, 64)).astype("float32")
    >>> histories = stack.pretrain(x, epochs=2, verbose=0)
    >>> {level: sorted(history.history) for level, history in histories.items()}["code"]
    ['activity_kl', 'loss', 'reconstruction_loss']
    >>> classifier = keras.Sequential([stack.encoder, keras.layers.Dense(10, activation="softmax")])
    >>> classifier.output_shape
    (None, 10)

    References:
        Bengio, Lamblin, Popovici and Larochelle, "Greedy Layer-Wise Training of Deep Networks", NIPS 2006. Ng et al., "UFLDL
        Tutorial", stacked autoencoders. Vincent et al., "Stacked Denoising Autoencoders", JMLR 11, 2010.
    """

    architecture = "stacked"

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
        code_units = list(code_units) if isinstance(code_units, (list, tuple)) else [code_units]
        if not code_units:
            raise ValueError("`code_units` lists the width of each level, at least one. Received: code_units=[].")
        activation = one_each("activation", activation, len(code_units))
        super().__init__(
            input_shape,
            hidden_units=code_units[:-1],
            code_units=code_units[-1],
            sparsity=by_level(sparsity, level_names(len(code_units))),
            tied=tied,
            activation=activation[-1],
            hidden_activation=activation[:-1],
            output_activation=output_activation,
            kernel_initializer=kernel_initializer,
            unit_norm=unit_norm,
            corruption=corruption,
            center=center,
            name=name,
            dtype=dtype,
            kernel_regularizer=kernel_regularizer,
            preprocessing=preprocessing,
            features=features,
            **kwargs,
        )

    @property
    def levels(self):
        """The names of the levels, from the input to the code."""
        return [level.code for level in self._untracked.levels]

    def pretrain(self, x, y=None, epochs=1, optimizer="adam", loss="mse", levels=None, verbose="auto", **fit):
        """Trains the levels one after the other, from the input to the code, each on the codes of the level below.

        Only the level in training changes. The levels below run in the same graph, as at inference, so `x` is read as it
        comes and no codes are stored. A model made under a `tf.distribute` strategy is trained under it. Neither before nor
        after does the model itself need to be compiled.

        Args:
            x: What `fit` takes: an array, a `tf.data.Dataset`, a `keras.utils.PyDataset`.
            y: Class labels, where a mechanism needs them; or a clean version of `x`, of which each level then reconstructs
                what it reads of it. A data set yields them with the inputs.
            epochs: Integer, or a list of one for each of `levels`, in their order.
            optimizer: A Keras optimizer or its name. Each level gets a fresh copy.
            loss: A Keras loss, between the input of a level and its reconstruction.
            levels: List of the names of the levels to train, by default all.
            verbose: As in `fit`.
            **fit: Other arguments of `fit`: `batch_size`, `callbacks`, `validation_split`, `steps_per_epoch`, ...

        Returns:
            Dictionary from the name of each level to its `keras.callbacks.History`.
        """
        levels = self.levels if levels is None else list(levels)
        for name in levels:
            if name not in self.levels:
                raise ValueError(f"`levels` lists levels to train, of {', '.join(self.levels)}. Received: {name!r}.")
        epochs = dict(zip(levels, one_each("epochs", epochs, len(levels)), strict=True))
        optimizer = keras.optimizers.serialize(keras.optimizers.get(optimizer))
        x = self._learn_statistics(x, y, verbose=verbose, **fit)
        histories = {}
        for name in sorted(epochs, key=self.levels.index):
            with self.level_in_training(name, optimizer, loss) as level:  # makes a fresh optimizer from the config
                if verbose:
                    width, shape = level.decoder.input_shape[-1], level.decoder.output_shape[1:]
                    sys.stdout.write(f"{name}: {width} units that reconstruct {shape}\n")
                histories[name] = level.fit(x, y, epochs=epochs[name], verbose=verbose, **fit)
        return histories

    @contextlib.contextmanager
    def level_in_training(self, name, *args, **kwargs):
        """Context manager that gives the compiled autoencoder of one level.

        It shares its layers with this model, reads the input of this model, and reconstructs the input of the level. The
        levels below are frozen until the context ends.

        Args:
            name: Name of the level.
            *args, **kwargs: Arguments of `compile`.
        """
        strategy = getattr(self, "distribute_strategy", None)
        trainable = [(layer, layer.trainable) for layer in self.encoder.layers]
        try:
            with strategy.scope() if strategy else contextlib.nullcontext():
                level = self._level(name)
                level.compile(*args, **kwargs)
            yield level
        finally:
            for layer, was in trainable:
                layer.trainable = was

    def extend(self, code_units, sparsity=None, activation=None):
        """Makes a deeper stack: the levels of this one, with copies of their weights, and new levels on top.

        Args:
            code_units: Integer or a list of integers, the widths of the new levels. The last is the new code.
            sparsity: Mechanisms that every new level gets a copy of, or a dictionary of these by level.
            activation: Activation of the new levels, or a list of one for each.

        Returns:
            A new `StackedAutoencoder`. Train its new levels by `pretrain(x, levels=[...])`. Running means of penalties start
            from zero. Its `features` are its encoder, because its layers have other names.
        """
        code_units = list(code_units) if isinstance(code_units, (list, tuple)) else [code_units]
        config = {key: value for key, value in self.get_config().items() if key != "features"}
        known = len(self.levels)
        names = level_names(known + len(code_units))
        old = {names[self.levels.index(level)]: mechanisms for level, mechanisms in config["sparsity"].items()}
        renamed = {kind: f"{kind}_{known}" for kind in ("encode", "decode")}  # the layers of what was the last level
        changes = [
            [f"{part}/{renamed.get(layer, layer)}", change, value]
            for (part, _, layer), change, value in ((path.partition("/"), *rest) for path, *rest in config.pop("changes", []))
            if change != "trainable" and part != "features"
        ]
        stack = type(self).from_config(
            {
                **config,
                "changes": changes,
                "trainable": True,
                "code_units": [*config["code_units"], *code_units],
                "activation": [*config["activation"], *one_each("activation", activation, len(code_units))],
                "sparsity": {**by_level(sparsity, names[known:]), **old},
            }
        )
        for index in range(known):
            for layers, copies in zip(self._layers_of(index), stack._layers_of(index), strict=True):
                for layer, copy in zip(layers, copies, strict=True):
                    copy.set_weights(layer.get_weights())
                    copy.trainable = layer.trainable
        return stack

    def _layers_of(self, index):
        """The layers that make a level from the one below, and those that decode it."""
        levels = self._untracked.levels
        encoding, decoding = ([layer.name for layer in model.layers] for model in (self.encoder, self.decoder))
        begin = encoding.index(levels[index - 1].code) + 1 if index else 1
        end = decoding.index(levels[index - 1].layer_name("decode")) if index else len(decoding)
        return (
            self.encoder.layers[begin : encoding.index(levels[index].code) + 1],
            self.decoder.layers[decoding.index(levels[index].layer_name("decode")) : end],
        )

    def _level(self, name):
        """The autoencoder of one level, made of the layers of this model. It reads the input of this model."""
        index = self.levels.index(name)
        encoding, decoding = self._layers_of(index)
        below = self.preprocessing
        if index:
            below = keras.Model(self.encoder.inputs[0], self.encoder.get_layer(self.levels[index - 1]).output)
        elif below is not None:
            encoding = encoding[[layer.name for layer in encoding].index(PREPROCESSED) + 1 :]
        if below is not None:
            below.trainable = False
        inputs = keras.Input(self.encoder.inputs[0].shape[1:], dtype=self.encoder.inputs[0].dtype, name="inputs")
        code = inputs if below is None else below(inputs, training=False)
        if self.corruption is not None:
            code = type(self.corruption).from_config(self.corruption.get_config())(code)
        for layer in encoding:
            code = layer(code)
        codes = outputs = keras.Input(code.shape[1:], dtype=code.dtype, name="codes")
        for layer in decoding:
            outputs = layer(outputs)
        penalties = self.penalties_by_code.get(name)
        pair = keras.Model(inputs, code), keras.Model(codes, outputs)
        level = _Level(below, *pair, sparsity=penalties, name=name, kernel_regularizer=self.kernel_regularizer)
        level._untracked.takes_labels = self.supervised
        return level

    def get_config(self):
        config = super().get_config()
        units, activations = config.pop("hidden_units"), config.pop("hidden_activation")
        sparsity = config["sparsity"]
        return {
            **config,
            "code_units": [*units, config["code_units"]],
            "activation": [*activations, config["activation"]],
            # By level, because mechanisms that name no level would be copied to all.
            "sparsity": sparsity if isinstance(sparsity, dict) else {"code": sparsity or []},
        }


class _Level(SparseAutoencoder):
    """A level in training: it reconstructs its own input, the code of the levels below."""

    def __init__(self, below, *pair, **kwargs):
        super().__init__(*pair, **kwargs)
        self._untracked.below = below
        self._untracked.checked = below is not None  # it reads codes

    @property
    def takes_labels(self):
        return self._untracked.takes_labels  # of any level of the stack

    def _learn_statistics(self, x, *args, **kwargs):
        return x  # `pretrain` has learned them from all that has weight

    def _target(self, given):
        below = self._untracked.below
        return given if below is None else ops.stop_gradient(below(given, training=False))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return self.get_metrics_result()  # the loss and its parts: `pretrain` compiles no metrics
