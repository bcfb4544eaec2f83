import threading

import keras
from keras import ops

from keras_sae import presets
from keras_sae.layers.tied_dense import tying_to
from keras_sae.models.objective import penalty_values
from keras_sae.models.sparsity import resolve_activation, serialize_sparsity, split_sparsity
from keras_sae.regularizers.activity_penalty import penalty_name
from keras_sae.replicas import replica_count


@keras.saving.register_keras_serializable(package="keras_sae")
class SparseAutoencoder(keras.Model):
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
        sparsity: A selection layer, a penalty (any `keras.Regularizer`), a list of both, or their Keras configs.
            Selections are appended to the encoder in the order given, penalties charge what the decoder reads. A Keras
            regularizer such as `keras.regularizers.L1(0.01)`, which sums, is divided by the number of positions.

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

    def __init__(self, encoder, decoder, sparsity=None, name=None, **kwargs):
        encoder = _as_model(encoder, "encoder")
        with tying_to(encoder.layers):
            decoder = _as_model(decoder, "decoder")
        selections, penalties = split_sparsity(sparsity)
        resolve_activation(_code_activation(encoder), penalties)
        if selections:
            encoder = keras.Model(encoder.inputs[0], append_selections(encoder.outputs[0], selections), name=encoder.name)
        inputs = keras.Input(batch_shape=encoder.inputs[0].shape, dtype=encoder.inputs[0].dtype, name="inputs")
        super().__init__(inputs=inputs, outputs=decoder(encoder(inputs)), name=name, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.penalties = penalties
        self._reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self._penalty_trackers = [keras.metrics.Mean(name=name) for name in _unique(map(penalty_name, penalties))]
        self._forward = threading.local()  # per thread, because the replicas of a strategy are threads

    def call(self, inputs, training=None, mask=None):
        code = self.encoder(inputs, training=training)
        outputs = self.decoder(code, training=training)
        if self.penalties:
            self._forward.last = (outputs, code)
        return outputs

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, _target(x, y, y_pred), y_pred, sample_weight, training)
        # Keras divides each replica's losses by the number of replicas, so that their sum is the mean over the batch.
        replicas = replica_count()
        layer_losses = sum(ops.sum(layer_loss) for layer_loss in self.losses)
        samples = ops.shape(y_pred)[0]
        self._reconstruction_tracker.update_state((loss - layer_losses) * replicas, sample_weight=samples)
        if self.penalties:
            values = penalty_values(self.penalties, self._code_of(x, y_pred, training))
            for tracker, value in zip(self._penalty_trackers, values, strict=True):
                tracker.update_state(value, sample_weight=samples)
                loss = loss + ops.cast(value, loss.dtype) / replicas
        return loss

    def _code_of(self, x, y_pred, training):
        """The code that `y_pred` was decoded from: kept since the forward pass, or made again from `x`."""
        outputs, code = getattr(self._forward, "last", (None, None))
        self._forward.last = (None, None)
        return code if outputs is not None and outputs is y_pred else self.encoder(x, training=training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, _target(x, y, y_pred), y_pred, sample_weight=sample_weight)

    def get_config(self):
        # Not Keras' config of a functional model, which lists layers: the constructor's arguments.
        return {
            "name": self.name,
            "trainable": self.trainable,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "sparsity": serialize_sparsity([], self.penalties),  # the encoder holds the selections
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        with keras.saving.custom_object_scope(custom_objects or {}):
            return cls(**config)

    def save_to_preset(self, directory, metadata=None, examples=None):
        """Saves the model as a preset: a directory that `from_preset` loads, on any machine.

        Writes `config.json`, `model.weights.h5` and `metadata.json`, which holds the SHA-256 of every file. The directory
        is written beside its place and moved there when whole. An earlier preset there is replaced.

        Args:
            directory: Where to save. A directory that holds something other than a preset is refused.
            metadata: Dictionary of whatever else should be kept, as JSON: the recipe, metrics, a licence.
            examples: A few inputs, of shape `(n, ...)`. Saved with their codes and reconstructions as `reference.npz`.

        Raises:
            FileExistsError: `directory` exists and is not a preset.
        """
        presets.save(self, directory, metadata=metadata, examples=examples)

    @classmethod
    def from_preset(cls, preset, load_weights=True):
        """Loads a pretrained model.

        Every file is checked against its SHA-256 first. No code from the preset runs, and no network is used.

        Args:
            preset: A name from `keras_sae.presets.names()`, or a directory written by `save_to_preset`.
            load_weights: Whether to load the weights; otherwise they are freshly initialised.

        Returns:
            A model of the class that was saved: `cls`, or a subclass of it.

        Raises:
            ValueError: The name is unknown, a file is damaged or missing, or the preset is of another class.

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


def append_selections(code, selections):
    """Applies the selections to the symbolic tensor `code`, and calls the result "code"."""
    for selection in selections:
        code = selection(code)
    return keras.layers.Identity(name="code", dtype=code.dtype)(code)


def _as_model(model, role):
    if isinstance(model, dict):
        model = keras.saving.deserialize_keras_object(model)
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`{role}` must be a keras.Model. Received: {role}={model!r} of type {type(model).__name__}. "
            "Wrap layers in keras.Sequential([keras.Input(shape), ...])."
        )
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        inputs = outputs = None
    if not inputs or len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"`{role}` must be a functional or Sequential model with one known input and one output, so that it can be "
            f"tapped and exported. Received: {role}={model!r}. Begin it with keras.Input(shape)."
        )
    return model


def _code_activation(encoder):
    """The activation of the layer that makes the code, where one can be told; else "sigmoid", which nothing refuses."""
    for layer in reversed(encoder.layers):
        if hasattr(layer, "activation"):
            return layer.activation
        if not (isinstance(layer, keras.layers.Identity) or hasattr(layer, "default_activation")):
            break
    return "sigmoid"


def _target(x, y, y_pred):
    """What the reconstruction is compared with: `y`, or the input where there is none."""
    target = x if y is None else y
    shapes = [tuple(tensor.shape) for tensor in (target, y_pred)]
    if len(shapes[0]) == len(shapes[1]) - 1:
        shapes[0] = (*shapes[0], 1)  # Keras' losses let a last axis of size 1 be left out
    if len(shapes[0]) != len(shapes[1]) or any(
        a != b for a, b in zip(shapes[0][1:], shapes[1][1:], strict=True) if None not in (a, b)
    ):
        raise ValueError(
            "An autoencoder is trained on its input, or on a target of the same shape as its reconstruction (as in "
            f"`fit(noisy, clean)`). Received: a target of shape {tuple(target.shape)}, and a reconstruction of shape "
            f"{tuple(y_pred.shape)}. If the data set yields (image, label), drop the label: "
            "`dataset.map(lambda image, label: image)`."
        )
    return target


def _unique(names):
    """Numbers repeated names: l1, l1_1, l1_2."""
    seen = {}
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{seen[name]}" if seen[name] else name
