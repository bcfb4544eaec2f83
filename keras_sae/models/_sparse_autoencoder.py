import threading
import types

import keras
from keras import ops

from keras_sae import presets
from keras_sae.distributed import DistributedModel, replica_count, sum_over_replicas
from keras_sae.layers import selections_of, tying_to
from keras_sae.metrics import CodeMetric
from keras_sae.models._objective import Objective
from keras_sae.models._parts import as_layer, as_model
from keras_sae.models._sparsity import penalties_of, resolve_activation, serialize_sparsity, split_sparsity
from keras_sae.models._target import target_and_labels


@keras.saving.register_keras_serializable(package="keras_sae")
class SparseAutoencoder(DistributedModel):
    """Reconstructs its input from a sparse code: `x -> encoder -> code -> decoder -> reconstruction`.

    Made from any encoder and decoder, and the base of the architectures of this package. It is trained as any Keras
    model, with the input as its own target:

        total loss = compiled loss(y, reconstruction) + sum of penalties(code)        y = x where no y is given

    so `fit(x)`, `fit(noisy, clean)` and `evaluate(x)` all work. Selections are layers of the encoder. Penalties belong to
    the objective, not to the encoder: `encoder.losses` is empty, and an encoder under a new head carries no hidden
    penalty. Under a `tf.distribute` strategy the penalties are those of the global batch.

    `fit` and `evaluate` log `reconstruction_loss` and each penalty by name (`activity_kl`, `l1`, ...); `loss` holds their
    sum. Monitor `val_reconstruction_loss`, since `val_loss` counts the penalties too.

    Args:
        encoder: Functional `keras.Model` from the input to the code, of shape `(batch, ..., units)`.
        decoder: Functional `keras.Model` from the code to the reconstruction.
        sparsity: A selection layer, a penalty (any `keras.Regularizer`), a list of both, or their Keras configs; or a
            dictionary of such from names of layers of the encoder, where several codes are charged, `"code"` being the
            last: `{"hidden": ActivityKL(), "code": [KSparse(25), keras.regularizers.L1(1e-3)]}`. Selections are appended
            to the encoder in the order given; penalties of `"code"` charge what the decoder reads. A Keras regularizer such
            as `keras.regularizers.L1(0.01)`, which sums, is divided by the number of positions.

        corruption: A layer that corrupts the input in training, which makes a denoising autoencoder: the target stays the
            input as it came. `keras_sae.layers.MaskingNoise(0.3)`, `SaltAndPepperNoise`, `keras.layers.GaussianNoise`, or
            its Keras config. It stands before the encoder and is no part of it.

    Attributes:
        encoder: The encoder with the selections, a functional model. Where this class or a subclass appended to it, its
            last layer is called `"code"`.
        decoder: The decoder.
        penalties: List of the penalties.

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
        encoder = as_model(encoder, "encoder")
        with tying_to(encoder.layers):
            decoder = as_model(decoder, "decoder")
        selections, charges = split_sparsity(sparsity)
        resolve_activation(_code_activation(encoder), penalties_of("code", charges))
        if selections:
            encoder = keras.Model(encoder.inputs[0], append_selections(encoder.outputs[0], selections), name=encoder.name)
        codes = _codes(encoder, charges)
        inputs = keras.Input(batch_shape=encoder.inputs[0].shape, dtype=encoder.inputs[0].dtype, name="inputs")
        corruption = as_layer(corruption)
        corrupted = inputs if corruption is None else corruption(inputs)
        super().__init__(inputs=inputs, outputs=decoder(encoder(corrupted)), name=name, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.corruption = corruption
        self._reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        if charges:
            self.objective = Objective(charges, {name: code.shape[-1] for name, code in codes.items()})
            self._penalty_trackers = [keras.metrics.Mean(name=name) for name in self.objective.names]
        # What Keras should neither track nor save: a second model of the same layers, which makes all codes at once; the
        # metrics of the code, which are compiled anew; and the last codes of each replica, which is a thread.
        self._untracked = types.SimpleNamespace(
            encode=keras.Model(encoder.inputs[0], codes), code_metrics=[], forward=threading.local()
        )

    @property
    def penalties(self):
        """The penalties of the objective, a list."""
        return list(self.objective.penalties) if hasattr(self, "objective") else []

    @property
    def charges(self):
        """Pairs of the name of a code and a penalty on it."""
        return list(zip(self.objective.codes, self.objective.penalties, strict=True)) if hasattr(self, "objective") else []

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

        `metrics` may hold metrics of the code too (`keras_sae.metrics.L0()`, ...): they are given the code that the decoder
        reads, in `fit` as selected for training, in `evaluate` as at inference.
        """
        self.check_metrics([metrics, kwargs.get("weighted_metrics")])
        several = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        of_code = [metric for metric in several if isinstance(metric, CodeMetric)]
        for metric in of_code:
            metric.build(self.encoder.outputs[0].shape[-1])
        if of_code:
            metrics = [metric for metric in several if metric not in of_code] or None
        for selection in selections_of(self.encoder):
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
        target, labels = target_and_labels(self.charges, self._own_target(x), y, y_pred, training)
        loss = super().compute_loss(x, target, y_pred, sample_weight, training)
        # Keras divides each replica's losses by the number of replicas, so that their sum is the mean over the batch.
        replicas = replica_count()
        layer_losses = sum(ops.sum(layer_loss) for layer_loss in self.losses)
        samples = ops.shape(y_pred)[0]
        reconstruction = loss - layer_losses
        if replicas > 1:
            reconstruction = ops.where(samples > 0, reconstruction, 0)  # a replica may have no sample of a small batch
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
            # Shares of a batch may differ in size: the gradient of each counts by its samples. The value stays as it is, for
            # it is weighed by samples where it is logged.
            share = ops.cast(samples * replicas, loss.dtype) / ops.cast(batch, loss.dtype)
            weighed = reconstruction * share
            reconstruction = weighed + ops.stop_gradient(reconstruction - weighed)
        return reconstruction + layer_losses

    def _own_target(self, x):
        """What an input is reconstructed as, where no target is given: itself."""
        return x

    def _codes_of(self, x, y_pred, training):
        """The codes that `y_pred` was decoded from: kept since the forward pass, or made again from `x`."""
        forward = self._untracked.forward
        outputs, codes = getattr(forward, "last", (None, None))
        forward.last = (None, None)
        return codes if outputs is not None and outputs is y_pred else self._untracked.encode(x, training=training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        target, _ = target_and_labels(self.charges, x, y, y_pred, training=False)
        return super().compute_metrics(x, target, y_pred, sample_weight=sample_weight)

    def get_config(self):
        # Not Keras' config of a functional model, which lists layers: the constructor's arguments.
        return {
            "name": self.name,
            "trainable": self.trainable,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "sparsity": serialize_sparsity([], self.charges),  # the encoder holds the selections
            "corruption": keras.saving.serialize_keras_object(self.corruption),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        with keras.saving.custom_object_scope(custom_objects or {}):
            return cls(**config)

    def save_to_preset(self, directory, metadata=None, examples=None, card=None):
        """Saves the model as a preset: a directory that `from_preset` loads, on any machine.

        Writes `config.json`, `model.weights.h5` and `metadata.json`, which holds the SHA-256 of every file. The directory
        is written beside its place and moved there when whole. An earlier preset there is replaced. `docs/presets.md` says
        how to share it.

        Args:
            directory: Where to save. A directory that holds something other than a preset is refused.
            metadata: Dictionary of whatever else should be kept, as JSON: the recipe, metrics, a licence.
            examples: A few inputs, of shape `(n, ...)`. Saved with their codes and reconstructions as `reference.npz`.
            card: Text for those who will use it, in Markdown, or a function from the metadata to such. Saved as `README.md`.

        Raises:
            FileExistsError: `directory` exists and is not a preset.
        """
        presets.save(self, directory, metadata=metadata, examples=examples, card=card)

    @classmethod
    def from_preset(cls, preset, load_weights=True):
        """Loads a pretrained model.

        Every file is checked against its SHA-256 first. No code from the preset runs, only classes of Keras and registered
        ones are made, and no network is used but for an address. See `docs/presets.md`.

        Args:
            preset: A name from `keras_sae.presets.names()`; a directory written by `save_to_preset`; or an address where such
                a directory lies, `"https://host/path"` or `"hf://owner/repository"`, fetched once and kept in the cache of
                Keras (`KERAS_HOME`). `#sha256=...` after an address says which `metadata_sha256` alone is accepted.
            load_weights: Whether to load the weights; otherwise they are freshly initialised.

        Returns:
            A model of the class that was saved: `cls`, or a subclass of it.

        Raises:
            ValueError: The name is unknown; a file is damaged, missing, or another than its SHA-256 says; the weights are
                those of another model; the config names a class that is not registered; the preset was written by a newer
                version, or is of another class.
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


def append_selections(code, selections, name="code"):
    """Applies the selections to the symbolic tensor `code`, and names the result."""
    for selection in selections:
        code = selection(code)
    return keras.layers.Identity(name=name, dtype=code.dtype)(code)


def _codes(encoder, charges):
    """The codes that the objective reads, by name: the outputs of layers of the encoder, and "code", its own output."""
    codes = {}
    for name in dict.fromkeys(name for name, _ in charges if name != "code"):
        if name not in [layer.name for layer in encoder.layers]:
            raise ValueError(
                '`sparsity` may name a layer of the encoder whose output is to be charged, or "code" for the encoder\'s own '
                f"output. Received: {name!r}; the layers are {', '.join(layer.name for layer in encoder.layers)}."
            )
        codes[name] = encoder.get_layer(name).output
    return {**codes, "code": encoder.outputs[0]}


def _code_activation(encoder):
    """The activation of the layer that makes the code, where one can be told; else "sigmoid", which nothing refuses."""
    for layer in reversed(encoder.layers):
        if hasattr(layer, "activation"):
            return layer.activation
        if not (isinstance(layer, keras.layers.Identity) or hasattr(layer, "default_activation")):
            break
    return "sigmoid"
