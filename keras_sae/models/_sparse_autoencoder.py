import keras

from keras_sae.layers import selections_of, tying_to
from keras_sae.models._arguments import refuse_unknown
from keras_sae.models._changes import changes_of, config_of_part, watch
from keras_sae.models._code import (
    activation_of,
    append_selections,
    check_name_is_free,
    codes_of,
    count_active,
    gives_exact_zeros,
    layers_around,
)
from keras_sae.models._features import features_config, features_model, read_features
from keras_sae.models._hdf5 import refuse_config_for_hdf5
from keras_sae.models._preprocessing import preprocessing_of
from keras_sae.models._sparsity import (
    mark_charged,
    read_corruption,
    read_model,
    read_sparsity,
    resolve_activation,
    serialize_sparsity,
)
from keras_sae.models._transformable import TransformableModel


@keras.saving.register_keras_serializable(package="keras_sae")
class SparseAutoencoder(TransformableModel):
    """Reconstructs its input from a sparse code: `x -> encoder -> code -> decoder -> reconstruction`.

    Takes any encoder and decoder, and is the base class of the architectures of this package. Train it as any Keras model,
    with the input as its own target:

        total loss = compiled loss(y, reconstruction) + sum of penalties(code)        y = x where no y is given

    So `fit(x)`, `fit(noisy, clean)` and `evaluate(x)` all work. Selections are layers of the encoder. Penalties belong to the
    objective, not to the encoder: `encoder.losses` is empty, and an encoder under a new head carries no hidden penalty. Under
    a `tf.distribute` strategy the penalties are those of the global batch.

    `fit` and `evaluate` log `reconstruction_loss` and each penalty by name (`activity_kl`, `l1`, ...); `loss` is their sum.
    Monitor `val_reconstruction_loss`, because `val_loss` includes the penalties.

    Inputs are floats, or uint8 pixels, which are divided by 255; other integers are refused, unless the encoder reads integers.
    Sample weights act with and without a target, in `fit`, `evaluate`, `validation_data` and data sets of `(x, None, weights)`.
    They weight the reconstruction loss as Keras does, which divides by the number of samples. In penalties and metrics of the
    code, the sum of weights takes the place of the number of positions, so a sample of weight 0 changes nothing; steps that a
    mask hides count as weight 0. Weights of other parts than positions of the code, such as pixels, give a sample their mean.

    Args:
        encoder: Functional `keras.Model` from the input to the code, of shape `(batch, ..., units)`.
        decoder: Functional `keras.Model` from the code to the reconstruction.
        sparsity: A selection layer, a penalty (any `keras.Regularizer`), a list of both, or their Keras configs. Or a
            dictionary of these by the names of layers of the encoder, where several codes are charged:
            `{"hidden": ActivityKL(), "code": [KSparse(25), keras.regularizers.L1(1e-3)]}`. `"code"` is the code that the
            decoder reads; only it can have selections, which are appended to the encoder in the given order. A
            regularizer of Keras, such as `keras.regularizers.L1(0.01)`, is a sum; its value here is divided by the number of
            positions. Your own regularizer is tried on a small code, then on that code twice: a value that doubles is a sum,
            one that stays is a mean and is taken as it is, and otherwise its attribute `reduction` must say "sum" or "mean".
        corruption: A layer that corrupts the input in training, for a denoising autoencoder: the target stays the clean
            input. `keras_sae.layers.MaskingNoise(0.3)`, `SaltAndPepperNoise`, `keras.layers.GaussianNoise`, or a Keras
            config. It runs before the encoder and is not part of it.
        kernel_regularizer: A Keras regularizer of every kernel that trains, such as `keras.regularizers.L2(1e-4)`, for weight
            decay in the loss. A kernel that encoder and decoder share is charged once. It belongs to the objective, as
            penalties do, and is logged as `kernel_regularizer`.
        features: What classifiers read, where it is not the code: a Keras layer, a list of layers applied to the code one
            after the other, or their Keras configs. Or a dictionary of these by the names of layers of the encoder, whose
            results are concatenated along the last axis: `{"encode": [BothSigns(), GridPooling(2)]}`. In the models of this
            package, `"encode"` is what the selections read and `"code"` the code. Any registered layer may follow; those of
            Keras with `data_format="channels_last"`. It does not change training. See `docs/features.md`.

    Attributes:
        encoder: The encoder with the selections, a functional model. Where this class or a subclass appended to it, its
            last layer is called `"code"`.
        decoder: The decoder.
        features: Functional model from inputs to features, the encoder itself where nothing else is set. It shares the layers
            of the encoder.
        preprocessing: Functional model from inputs to what the decoder reconstructs, or None where these are the inputs. In a
            custom encoder, that is the output of a layer called `"preprocessed"`.
        selections: List of the selections of the encoder.
        penalties: List of the penalties.
        has_exact_zeros: Whether silent units of the code are exactly zero at inference.

    Example:

    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    >>> decoder = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])
    >>> model = SparseAutoencoder(encoder, decoder, sparsity=[KSparse(k=4), keras.regularizers.L1(1e-3)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.random.rand(32, 8), verbose=0)
    >>> sorted(history.history)
    ['l1', 'loss', 'reconstruction_loss']
    """

    architecture = "custom"  # the word for it in metadata and names of presets

    def __init__(
        self,
        encoder,
        decoder,
        sparsity=None,
        corruption=None,
        name=None,
        kernel_regularizer=None,
        features=None,
        **kwargs,
    ):
        refuse_unknown(type(self), kwargs)
        encoder = read_model(encoder, "encoder")
        with tying_to(encoder.layers):
            decoder = read_model(decoder, "decoder")
        selections, penalties = read_sparsity(sparsity, taken=[layer.name for layer in encoder.layers])
        resolve_activation(activation_of(encoder), penalties.get("code", []))
        if selections["code"]:
            check_name_is_free(encoder)
            code = append_selections(encoder.outputs[0], selections["code"])
            encoder = keras.Model(encoder.inputs[0], code, name=encoder.name)
        codes = codes_of(encoder, penalties)
        inputs = keras.Input(batch_shape=encoder.inputs[0].shape, dtype=encoder.inputs[0].dtype, name="inputs")
        corruption = read_corruption(corruption)
        corrupted = inputs if corruption is None else corruption(inputs)
        trainable = kwargs.pop("trainable", True)  # set when all parts are there
        super().__init__(inputs=inputs, outputs=decoder(encoder(corrupted)), name=name, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.corruption = corruption
        self._prepare_features(features)
        self._prepare_training(codes, penalties, kernel_regularizer)
        mark_charged(self.penalties)
        watch(self)
        if not trainable:
            self.trainable = False

    def _prepare_features(self, features):
        chosen = read_features(features, self.encoder)
        self._untracked.preprocessing = preprocessing_of(self.encoder)
        self._untracked.chosen_features = chosen
        self._untracked.features = features_model(self.encoder, chosen) if chosen else self.encoder
        # The encoder's layers are saved with the encoder.
        self._feature_layers = [layer for layers in chosen.values() for layer in layers]

    @property
    def features(self):
        """The functional model from inputs to what classifiers should read."""
        return self._untracked.features

    @property
    def preprocessing(self):
        """The functional model from inputs to what the decoder reconstructs, or None where these are the inputs."""
        return self._untracked.preprocessing

    def target_of(self, x):
        """What the reconstruction of inputs is compared with: the inputs, or what preprocessing makes of them."""
        return self._target(x)

    def with_features(self, features):
        """A model with the weights of this one and other `features`.

        Args:
            features: As in the constructor. Layers of it that learn from data need an `adapt_features` or `adapt`.

        Returns:
            A new model of the same class, not compiled.
        """
        config = {key: value for key, value in self.get_config().items() if key != "features"}
        model = type(self).from_config(config if features is None else {**config, "features": features})
        for weight, own in zip(_without_features(model), _without_features(self), strict=True):
            weight.assign(own)
        return model

    @property
    def penalties_by_code(self):
        """The penalties of the objective: a dictionary of lists by the names of codes."""
        by_code = {}
        for code, penalty in zip(self.objective.codes, self.objective.penalties, strict=True) if self.penalties else ():
            by_code.setdefault(code, []).append(penalty)
        return by_code

    @property
    def selections(self):
        """The selections of the encoder, a list."""
        return selections_of(self.encoder)

    @property
    def has_exact_zeros(self):
        """Whether silent units of the code are exactly zero at inference."""
        return gives_exact_zeros(self.encoder)

    @property
    def active_entries(self):
        """How many entries of a sample's code stay at inference, or None where that depends on the sample."""
        return count_active(self.encoder)

    @property
    def layers_around_code(self):
        """The layer whose kernel makes the code, and the one that reads it by a kernel, own or tied. Either may be None."""
        return layers_around(self.encoder, self.decoder)

    def get_config(self):
        # The constructor's arguments, not the list of layers that is Keras' config of a functional model.
        return {
            "name": self.name,
            "trainable": self.trainable,
            "encoder": config_of_part(self.encoder),
            "decoder": config_of_part(self.decoder),
            "sparsity": serialize_sparsity({}, self.penalties_by_code),  # the encoder holds the selections
            "corruption": keras.saving.serialize_keras_object(self.corruption),
            **self.optional_config(),
        }

    def optional_config(self):
        """The entries of the config that only some models have: arguments that are not at their defaults, changes to layers."""
        refuse_config_for_hdf5(self)
        regularizer = self.kernel_regularizer
        optional = {} if regularizer is None else {"kernel_regularizer": keras.regularizers.serialize(regularizer)}
        return {**optional, **features_config(self._untracked.chosen_features), **changes_of(self)}


def _without_features(model):
    """The weights of a model but those of the layers that features add."""
    added = {id(weight) for layer in model._feature_layers for weight in layer.weights}
    return [weight for weight in model.weights if id(weight) not in added]
