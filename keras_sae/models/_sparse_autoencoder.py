import keras

from keras_sae import presets
from keras_sae.layers import selections_of, tying_to
from keras_sae.models._arguments import refuse_unknown
from keras_sae.models._code import activation_of, append_selections, codes_of, count_active, gives_exact_zeros, layers_around
from keras_sae.models._sparsity import read_corruption, read_model, read_sparsity, resolve_activation, serialize_sparsity
from keras_sae.models._trained_on_input import TrainedOnInput


@keras.saving.register_keras_serializable(package="keras_sae")
class SparseAutoencoder(TrainedOnInput):
    """Reconstructs its input from a sparse code: `x -> encoder -> code -> decoder -> reconstruction`.

    Takes any encoder and decoder, and is the base class of the architectures of this package. Train it as any Keras model,
    with the input as its own target:

        total loss = compiled loss(y, reconstruction) + sum of penalties(code)        y = x where no y is given

    So `fit(x)`, `fit(noisy, clean)` and `evaluate(x)` all work. Selections are layers of the encoder. Penalties belong to the
    objective, not to the encoder: `encoder.losses` is empty, and an encoder under a new head carries no hidden penalty. Under
    a `tf.distribute` strategy the penalties are those of the global batch.

    `fit` and `evaluate` log `reconstruction_loss` and each penalty by name (`activity_kl`, `l1`, ...); `loss` is their sum.
    Monitor `val_reconstruction_loss`, because `val_loss` includes the penalties.

    Args:
        encoder: Functional `keras.Model` from the input to the code, of shape `(batch, ..., units)`.
        decoder: Functional `keras.Model` from the code to the reconstruction.
        sparsity: A selection layer, a penalty (any `keras.Regularizer`), a list of both, or their Keras configs. Or a
            dictionary of these by the names of layers of the encoder, where several codes are charged:
            `{"hidden": ActivityKL(), "code": [KSparse(25), keras.regularizers.L1(1e-3)]}`. `"code"` is the code that the
            decoder reads; only it can have selections, which are appended to the encoder in the given order. A Keras
            regularizer, such as `keras.regularizers.L1(0.01)`, is a sum; its value here is divided by the number of positions.
        corruption: A layer that corrupts the input in training, for a denoising autoencoder: the target stays the clean
            input. `keras_sae.layers.MaskingNoise(0.3)`, `SaltAndPepperNoise`, `keras.layers.GaussianNoise`, or a Keras
            config. It runs before the encoder and is not part of it.
        kernel_regularizer: A Keras regularizer of every kernel that trains, such as `keras.regularizers.L2(1e-4)`, for weight
            decay in the loss. A kernel that encoder and decoder share is charged once. It belongs to the objective, as
            penalties do, and is logged as `kernel_regularizer`.

    Attributes:
        encoder: The encoder with the selections, a functional model. Where this class or a subclass appended to it, its
            last layer is called `"code"`.
        decoder: The decoder.
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

    def __init__(self, encoder, decoder, sparsity=None, corruption=None, name=None, kernel_regularizer=None, **kwargs):
        refuse_unknown(type(self), kwargs)
        encoder = read_model(encoder, "encoder")
        with tying_to(encoder.layers):
            decoder = read_model(decoder, "decoder")
        selections, penalties = read_sparsity(sparsity)
        resolve_activation(activation_of(encoder), penalties.get("code", []))
        if selections["code"]:
            code = append_selections(encoder.outputs[0], selections["code"])
            encoder = keras.Model(encoder.inputs[0], code, name=encoder.name)
        codes = codes_of(encoder, penalties)
        inputs = keras.Input(batch_shape=encoder.inputs[0].shape, dtype=encoder.inputs[0].dtype, name="inputs")
        corruption = read_corruption(corruption)
        corrupted = inputs if corruption is None else corruption(inputs)
        super().__init__(inputs=inputs, outputs=decoder(encoder(corrupted)), name=name, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.corruption = corruption
        self._prepare_training(codes, penalties, kernel_regularizer)

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
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "sparsity": serialize_sparsity({}, self.penalties_by_code),  # the encoder holds the selections
            "corruption": keras.saving.serialize_keras_object(self.corruption),
            **self.optional_config(),
        }

    def optional_config(self):
        """The constructor arguments that only some models have: those that are not at their defaults."""
        if self.kernel_regularizer is None:
            return {}
        return {"kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        if "kernel_initializer" in config:  # of an architecture; saved before `center` existed where it lacks that
            config = {"center": False, **config}
        with keras.saving.custom_object_scope(custom_objects or {}):
            return cls(**config)

    def save_to_preset(self, directory, metadata=None, examples=None, card=None):
        """Saves the model as a preset: a directory that `from_preset` loads on any machine.

        Writes `config.json`, `model.weights.h5` and `metadata.json`, which holds the SHA-256 of every file. Files are written
        to a temporary directory and moved into place at the end. `docs/presets.md` explains how to share a preset.

        An earlier preset in `directory` is replaced: `metadata.json` and the files that it lists. Everything else stays, such
        as `.git` and your notes. A card that you edited stays as `README.md`, or under another name if you give a `card`.

        Args:
            directory: Where to save. A directory that holds something other than a preset is refused.
            metadata: Dictionary of anything else to keep, as JSON: the recipe, metrics, a licence.
            examples: A few finite inputs, of shape `(n, ...)`. Saved with their codes and reconstructions as `reference.npz`.
            card: Markdown text for users, or a function from the metadata to such a text. Saved as `README.md`.

        Raises:
            FileExistsError: `directory` exists and is not a preset, or a new file would replace one of yours.
            ValueError: A weight, an example, or its code or reconstruction is not finite.
        """
        presets.save(self, directory, metadata=metadata, examples=examples, card=card)

    @classmethod
    def from_preset(cls, preset, load_weights=True):
        """Loads a pretrained model.

        Every file but the card is first checked against its SHA-256. No code from the preset runs: only classes of Keras and
        registered classes are made. The network is used for an address only. See `docs/presets.md`.

        Args:
            preset: A name from `keras_sae.presets.names()`; a directory written by `save_to_preset`; or the address of such a
                directory, `"https://host/path"` or `"hf://owner/repository"`, which is fetched once into the cache of Keras
                (`KERAS_HOME`). With `#sha256=...` after an address, only a preset of that `metadata_sha256` is accepted.
            load_weights: Whether to load the weights. Otherwise they are freshly initialised.

        Returns:
            A model of the class that was saved: `cls`, or a subclass of it.

        Raises:
            ValueError: The name is unknown; a file is missing, damaged, or does not match its SHA-256; the weights belong to
                another model; the config names a class that is not registered; a newer version wrote the preset, or it is
                of another class.
            ConnectionError: The address could not be fetched.

        Example:

        >>> encoder = SparseAutoencoder.from_preset("mnist_dense_ksparse").encoder
        >>> encoder.output_shape
        (None, 1000)
        """
        model = presets.load(preset, load_weights=load_weights)
        if not isinstance(model, cls):
            raise ValueError(
                f"The preset {str(preset)!r} holds a {type(model).__name__}, which is not a {cls.__name__}. "
                f"Load it with keras_sae.models.{type(model).__name__}.from_preset or SparseAutoencoder.from_preset."
            )
        return model
