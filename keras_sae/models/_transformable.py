"""What an autoencoder has to do so that the transformations of Keras keep it, or are refused: saving, copying and cloning."""

import keras

from keras_sae import presets
from keras_sae.models._adaptations import Adaptations
from keras_sae.models._changes import adapted_layers, apply_changes, training_flags
from keras_sae.models._fit_arguments import refuse_other_losses
from keras_sae.models._hdf5 import is_hdf5, refuse_hdf5
from keras_sae.models._quantize import refuse_calibration
from keras_sae.models._trained_on_input import TrainedOnInput


class TransformableModel(TrainedOnInput):
    """A model of encoder, decoder and objective that is saved, copied and cloned as what it is, or not at all."""

    def save(self, filepath, *args, **kwargs):
        """Saves the model as a `.keras` file, as Keras does.

        Raises:
            ValueError: `filepath` ends in `.h5` or `.hdf5`. That format keeps no penalties, scales and running means.
        """
        if is_hdf5(filepath):
            refuse_hdf5(f"filepath={str(filepath)!r}.")
        super().save(filepath, *args, **kwargs)

    def __new__(cls, *args, **kwargs):
        model = super().__new__(cls, *args, **kwargs)
        refuse_calibration(model)
        return model

    def make_train_function(self, force=False):
        """Keras calls it before it trains. Layers that were frozen since the last time stay as they are from now on."""
        flags = training_flags(self)
        made_with, known = self._untracked.flags, self._untracked.optimized
        known = flags[1] if known is None else known
        if flags[1] - known or (flags[1] != known and keras.backend.backend() == "jax"):
            raise ValueError(
                "The optimizer was made for other weights than those that train now, because `trainable` of a layer has "
                "changed since. Call `compile` again before you train."
            )
        self._untracked.flags, self._untracked.optimized = flags, known
        return super().make_train_function(force or flags != made_with)

    def compile(self, optimizer="rmsprop", loss=None, *args, **kwargs):
        refuse_other_losses(loss)
        super().compile(optimizer, loss, *args, **kwargs)
        self._untracked.flags = self._untracked.optimized = None

    def compile_from_config(self, config):
        super().compile_from_config(config)
        self._untracked.optimized = training_flags(self)[1]  # whose optimizer is made already

    @property
    def adaptations(self):
        """What `enable_lora` has added to layers, as Keras saves it with the model; None where it added nothing."""
        layers = adapted_layers(self) if hasattr(self, "decoder") else []
        if layers and getattr(self._untracked.adaptations, "of", None) != layers:
            self._untracked.adaptations = Adaptations(layers)
        return self._untracked.adaptations if layers else None

    def compute_output_spec(self, inputs, training=None, mask=None):
        return self.decoder.compute_output_spec(self.encoder.compute_output_spec(keras.tree.flatten(inputs)[0]))

    def _run_through_graph(self, inputs, *args, **kwargs):
        """Replaces a private method of Keras, which only `keras.models.clone_model` calls with symbolic inputs."""
        if any(isinstance(tensor, keras.KerasTensor) for tensor in keras.tree.flatten(inputs)):
            raise ValueError(
                "`keras.models.clone_model` would make a plain functional model, without penalties and with a decoder that is "
                f"no longer tied. Received: the {type(self).__name__} {self.name!r}. For a model with new weights, use "
                "`type(model).from_config(model.get_config())`; for one with the same weights, `copy.deepcopy(model)`."
            )
        return super()._run_through_graph(inputs, *args, **kwargs)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        if "kernel_initializer" in config:  # of an architecture; saved before `center` existed where it lacks that
            config = {"center": False, **config}
        config = dict(config)
        changes = config.pop("changes", [])
        if config.get("trainable"):
            del config["trainable"]  # setting it would thaw parts that their own configs freeze
        with keras.saving.custom_object_scope(custom_objects or {}):
            model = cls(**config)
            apply_changes(model, changes)
        return model

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
