import contextlib
import threading
import types
import warnings

import keras
from keras import ops

from keras_sae.distributed import replica_count
from keras_sae.models._adapted import AdaptedModel
from keras_sae.models._sparse_decoding import decoding_of


class OwnSteps(AdaptedModel):
    """Tells the steps of the model itself, in `fit`, `evaluate` and `predict`, from other calls.

    The model's own steps compute penalties in `compute_loss`. Any other call with `training=True` or `training=False` adds them
    to `losses`, as Keras layers do: inside another model, or in a loop of your own.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Keras must neither track nor save what is in here: metrics of the code, and the last forward pass of each replica,
        # which is a thread.
        self._untracked = types.SimpleNamespace(
            code_metrics=[], forward=threading.local(), flags=None, optimized=None, adaptations=None
        )

    def train_step(self, *args, **kwargs):
        with self._own_step():
            return super().train_step(*args, **kwargs)

    def test_step(self, *args, **kwargs):
        with self._own_step():
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args, **kwargs):
        with self._own_step():
            return super().predict_step(*args, **kwargs)

    @contextlib.contextmanager
    def _own_step(self):
        forward = self._untracked.forward
        forward.own_step = True
        try:
            yield
        finally:
            forward.own_step = False

    def _add_losses(self, made, training, inputs, outputs):
        """Adds the parts of the loss that this model has to `losses`, unless a step of its own computes them.

        Args:
            made: The codes and masks of the forward pass.
            training: Whether the model is in training, or None where nobody said so.
            inputs, outputs: The input, not corrupted, and its reconstruction.
        """
        forward = self._untracked.forward
        forward.added, forward.values = [], None
        if training is None or getattr(forward, "own_step", False):
            return
        if self.penalties:
            replicas = replica_count() > 1
            if training:
                self._warn_of_losses(replicas)
            decoding = decoding_of(self, made, self._target(inputs), outputs, training)
            forward.values = self.objective.values(
                made["codes"], None, training, masks=made["masks"], together=not replicas, decoding=decoding
            )
            forward.added += forward.values[0]
        known = self.losses
        if self.kernel_regularizer is not None:
            kernel = getattr(forward, "kernel", None)
            if not any(loss is kernel for loss in known):  # a model that is called twice in another one has its kernels once
                forward.kernel = ops.convert_to_tensor(self._kernel_loss())
            forward.added.append(forward.kernel)
        for value in forward.added:
            if not any(value is loss for loss in known):
                keras.Layer.add_loss(self, value)  # functional models refuse it outside of `call`, and so everywhere

    def _warn_of_losses(self, replicas):
        """Says which penalties are not in `losses` what they are in `fit`."""
        if self.supervised:
            warnings.warn(
                f"The model {self.name!r} has a penalty that needs class labels, such as GroupL21. Inside another model, and "
                "in `losses`, it gets none and counts 0. Train the model itself, or call its `compute_loss` with labels.",
                stacklevel=3,
            )
        if replicas:
            warnings.warn(
                f"The penalties of the model {self.name!r} are those of each replica's share of a batch, because it is called "
                "from another model or loop. To charge the whole batch, train the model itself.",
                stacklevel=3,
            )

    def _added_losses(self):
        """The tensors that the last call added to `losses`, or an empty list."""
        added, losses = getattr(self._untracked.forward, "added", []), self.losses
        return added if added and all(any(value is loss for loss in losses) for value in added) else []
