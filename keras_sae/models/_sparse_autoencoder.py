import threading
import types

import keras
from keras import ops

from keras_sae import presets
from keras_sae.distributed import DistributedModel, replica_count, sum_over_replicas
from keras_sae.layers import selections_of, tying_to
from keras_sae.metrics import CodeMetric
from keras_sae.models._code import activation_of, append_selections, codes_of, count_active, gives_exact_zeros, layers_around
from keras_sae.models._objective import Objective, target_and_labels
from keras_sae.models._sparsity import read_corruption, read_model, read_sparsity, resolve_activation, serialize_sparsity


@keras.saving.register_keras_serializable(package="keras_sae")
class SparseAutoencoder(DistributedModel):
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

    def __init__(self, encoder, decoder, sparsity=None, corruption=None, name=None, **kwargs):
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
        self._reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        if penalties:
            self.objective = Objective(penalties, {name: code.shape[-1] for name, code in codes.items()})
            self._penalty_trackers = [keras.metrics.Mean(name=name) for name in self.objective.names]
        # Keras must neither track nor save these: a second model of the same layers, which gives all codes at once; the
        # metrics of the code; and the last forward pass of each replica, which is a thread.
        self._untracked = types.SimpleNamespace(
            encode=keras.Model(encoder.inputs[0], codes), code_metrics=[], forward=threading.local()
        )

    @property
    def penalties(self):
        """The penalties of the objective, a list."""
        return list(self.objective.penalties) if hasattr(self, "objective") else []

    @property
    def penalties_by_code(self):
        """The penalties of the objective: a dictionary of lists by the names of codes."""
        by_code = {}
        for code, penalty in zip(self.objective.codes, self.objective.penalties, strict=True) if self.penalties else ():
            by_code.setdefault(code, []).append(penalty)
        return by_code

    @property
    def supervised(self):
        """Whether a penalty needs class labels in training."""
        return hasattr(self, "objective") and self.objective.supervised

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

    @property
    def metrics(self):
        return [*super().metrics, *self._untracked.code_metrics] if hasattr(self, "_untracked") else super().metrics

    def call(self, inputs, training=None, mask=None):
        if self.corruption is not None:
            inputs = self.corruption(inputs, training=training)
        codes = self._untracked.encode(inputs, training=training)
        outputs = self.decoder(codes["code"], training=training)
        if self.penalties or self._untracked.code_metrics:
            self._untracked.forward.last = (outputs, codes)
        return outputs

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **kwargs):
        """Configures the model for training, as Keras does.

        `metrics` may hold metrics of the code too (`keras_sae.metrics.L0()`, ...). They get the code that the decoder reads:
        in `fit` as selected in training, in `evaluate` as at inference.
        """
        self.check_metrics([metrics, kwargs.get("weighted_metrics")])
        several = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        of_code = [metric for metric in several if isinstance(metric, CodeMetric)]
        for metric in of_code:
            metric.build(self.encoder.outputs[0].shape[-1])
        if of_code:
            metrics = [metric for metric in several if metric not in of_code] or None
        for selection in self.selections:
            selection.compile_by_xla(kwargs.get("jit_compile") is True)
        super().compile(optimizer, loss, loss_weights, metrics, **kwargs)
        self._untracked.code_metrics = of_code

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and self._untracked.code_metrics:
            of_code = [keras.saving.serialize_keras_object(metric) for metric in self._untracked.code_metrics]
            config["metrics"] = [*(config["metrics"] or []), *of_code]
        return config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        target, labels = target_and_labels(self.supervised, self._default_target(x), y, y_pred, training)
        loss = super().compute_loss(x, target, y_pred, sample_weight, training)
        # Keras divides each replica's losses by the number of replicas, so that their sum is the mean over the batch.
        replicas = replica_count()
        layer_losses = sum(ops.sum(layer_loss) for layer_loss in self.losses)
        samples = ops.shape(y_pred)[0]
        reconstruction = loss - layer_losses
        if replicas > 1:
            reconstruction = ops.where(samples > 0, reconstruction, 0)  # a replica may get no sample of a small batch
        self._reconstruction_tracker.update_state(reconstruction * replicas, sample_weight=samples)
        if self.penalties or self._untracked.code_metrics:
            codes = self._codes_of(x, y_pred, training)
            for metric in self._untracked.code_metrics:
                metric.update_state(codes["code"])
        batch = samples
        if self.penalties:
            values, batch = self.objective.values(codes, labels, training)
            for tracker, value in zip(self._penalty_trackers, values, strict=True):
                tracker.update_state(value, sample_weight=samples)
                layer_losses = layer_losses + ops.cast(value, loss.dtype) / replicas
        elif replicas > 1:
            batch = sum_over_replicas(samples)
        if replicas > 1:
            # The shares of a batch may differ in size: the gradient of each counts by its samples. The value stays as it is,
            # because logs weight it by samples.
            share = ops.cast(samples * replicas, loss.dtype) / ops.cast(batch, loss.dtype)
            weighed = reconstruction * share
            reconstruction = weighed + ops.stop_gradient(reconstruction - weighed)
        return reconstruction + layer_losses

    def _default_target(self, x):
        """The target of an input where none is given: the input itself."""
        return x

    def _codes_of(self, x, y_pred, training):
        """The codes that `y_pred` was decoded from. The forward pass keeps them; at inference they can be made again."""
        forward = self._untracked.forward
        outputs, codes = getattr(forward, "last", (None, None))
        if outputs is not None and outputs is y_pred:
            forward.last = (None, None)
            return codes
        if training:
            raise ValueError(
                "In training, penalties and metrics need the code that `y_pred` was decoded from. Only the last call of the "
                "model knows it. Received: a `y_pred` that the last call did not return, or whose loss was already computed. "
                "Call `y_pred = model(x, training=True)` and then `model.compute_loss(x, y, y_pred)`, with no other call in "
                "between. Do not change `y_pred`: put a cast or another layer into the decoder."
            )
        return self._untracked.encode(x, training=False)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        target, _ = target_and_labels(self.supervised, x, y, y_pred, training=False)
        return super().compute_metrics(x, target, y_pred, sample_weight=sample_weight)

    def get_config(self):
        # The constructor's arguments, not the list of layers that is Keras' config of a functional model.
        return {
            "name": self.name,
            "trainable": self.trainable,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "sparsity": serialize_sparsity({}, self.penalties_by_code),  # the encoder holds the selections
            "corruption": keras.saving.serialize_keras_object(self.corruption),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
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
