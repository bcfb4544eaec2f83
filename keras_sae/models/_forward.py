import warnings

import keras

from keras_sae.models._batch_sparse_path import path_of
from keras_sae.models._own_steps import OwnSteps
from keras_sae.models._sparse_path import LEAST_UNITS, most_that_pay, pays
from keras_sae.ops import on_cpu
from keras_sae.regularizers import DecodedPenalty


class Forward(OwnSteps):
    """Runs encoder and decoder by their layers, or by the sparse path where that computes the same in less time."""

    @property
    def sparse_path(self):
        """Whether the model computes with the few entries that a `KSparse` or `BatchKSparse` keeps, not with dense codes.

        None, the default, decides by the sizes: in `fit`, `evaluate` and `predict` without GPUs, and on TensorFlow without XLA,
        where the code has at least 1,000 units, and for each entry that stays at least 40 in training and 64 otherwise.
        On JAX, training needs at least 128 and batches of at least 512. `BatchKSparse` is run so on TensorFlow only. True does
        so wherever it is possible, also in calls of the model; False never. The model, its values and its gradients are the
        same, up to rounding. Set it before `compile`; it is not saved.

        XLA would compute dense codes, by products that take longer than those of the graph. So from 1,000 units,
        `compile(jit_compile=True)` warns and leaves XLA out of all steps, unless `sparse_path` is set.

        A model can be run so if its code is made by a plain `Dense`, linear or ReLU, with one of these after it, and read by a
        `Dense` or `TiedDense` first. Quantised layers and layers with LoRA run as they are.
        """
        return getattr(self._untracked, "sparse_path", None)

    @sparse_path.setter
    def sparse_path(self, value):
        if value not in (True, False, None):
            raise ValueError(f"`sparse_path` must be True, False, or None for the default. Received: {value!r}.")
        self._untracked.sparse_path = value
        self.train_function = self.test_function = self.predict_function = None  # to be traced again

    def encode_entries(self, inputs, k=None):
        """The entries of the code that stay at inference, without the dense code, or None where that is not possible.

        Where `sparse_path` is None, it is possible for the sizes for which this pays.

        Args:
            inputs: Tensor of what the encoder reads.
            k: Integer or None. For a `BatchKSparse`, how many entries of each code are wanted, the largest. By default all.

        Returns:
            Their values and indices, of shape `(batch, kept)`, in no fixed order. Codes of fewer entries are filled up with
            values of 0. And a boolean scalar: whether the encoder must be called instead, because there may be a NaN, or
            because a `BatchKSparse` keeps too many entries or negative ones.
        """
        path = self._path_of_entries()
        return None if path is None else path.encode_entries(inputs, k, self.most_entries(path))

    def decode_entries(self, values, indices):
        """The reconstruction from entries of codes, without dense codes, or None where `encode_entries` returns None.

        Args:
            values: Float tensor of shape `(batch, k)`.
            indices: Integer tensor of shape `(batch, k)`. Values of equal indices add up.
        """
        path = self._path_of_entries()
        return None if path is None else path.reconstruct(values, indices)

    @property
    def has_entries(self):
        """Whether `encode_entries` and `decode_entries` are possible."""
        return self._path_of_entries() is not None

    def _path_of_entries(self):
        path = self.current_path() if self.sparse_path is not False else None
        return path if path and (self.sparse_path or pays(path.units, path.selection.kept or path.selection.k)) else None

    def most_entries(self, path, training=False):
        """The largest number of entries that the sparse path computes."""
        return path.units - 1 if self.sparse_path else most_that_pay(path.units, training)

    def _encode_and_decode(self, inputs, training):
        """What the encoder makes of `inputs`, a dictionary of codes and masks, and their reconstruction."""
        if self._takes_sparse_path(training, inputs.shape[0]):
            wanted = bool(self._untracked.code_metrics or any(not isinstance(each, DecodedPenalty) for each in self.penalties))
            path, decodes = self._untracked.path, bool(self.penalties) and self.objective.decodes
            outputs, codes, entries = path(inputs, training, wanted, self.most_entries(path, training), decodes)
            if decodes:  # other penalties need the code; these need to know the number of samples
                codes["code"] = entries.product[:, :0] if codes["code"] is None else codes["code"]
                return {"codes": codes, "masks": {}, "entries": entries}, outputs
            return {"codes": codes, "masks": {}}, outputs
        made = self._untracked.encode(inputs, training=training)
        return made, self.decoder(made["codes"]["code"], training=training)

    def leave_out_xla(self, jit_compile):
        """`jit_compile` of `compile`, or False, with a warning, where the graph takes less time than XLA would."""
        if jit_compile is not True or keras.backend.backend() != "tensorflow" or self.sparse_path is not None or not on_cpu():
            return jit_compile
        path = self.current_path()
        if path is None or path.units < LEAST_UNITS:
            return jit_compile
        warnings.warn(
            f"`jit_compile=True` is left out: on a CPU, XLA takes longer for codes of {path.units} units, of which "
            f"{path.selection.k} stay, than TensorFlow's graph. Set `model.sparse_path = False` before `compile` to use XLA.",
            stacklevel=3,
        )
        return False

    def _takes_sparse_path(self, training=False, batch=None):
        wanted = self.sparse_path
        if wanted is False or (self.jit_compile and keras.backend.backend() != "jax"):  # which always compiles
            return False
        if wanted is None and not (getattr(self._untracked.forward, "own_step", False) and on_cpu()):
            return False
        path = self.current_path()
        return path is not None and (wanted or pays(path.units, path.selection.k, training, batch))

    def current_path(self):
        """The sparse path of this model as it is now, or None."""
        if keras.backend.backend() != "tensorflow" and self.penalties and self.objective.decodes:
            return None  # the entries that these penalties read are found on TensorFlow only
        if not hasattr(self._untracked, "path"):
            names = dict.fromkeys(self.objective.codes) if self.penalties else ()
            self._untracked.path = path_of(self.encoder, self.decoder, [name for name in names if name != "code"])
        path = self._untracked.path
        return path if path.applies() and not self._untracked.masked else None
