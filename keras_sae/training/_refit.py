import types

import keras
from keras import ops

from keras_sae.distributed import DistributedModel

DECODER = "decoder"  # the name of this phase of training


def check_refit(model):
    """Raises ValueError if the decoder of a model cannot be trained without changing its codes."""
    own = {id(variable) for variable in model.encoder.variables}
    if any(id(variable) in own for variable in model.decoder.trainable_variables):
        raise ValueError(
            "`refit_decoder` trains the decoder and leaves the codes as they are, but this decoder shares its kernels with the "
            "encoder. Set `tied = false` in [model], or remove `refit_decoder`."
        )


class DecoderInTraining(DistributedModel):
    """Trains the decoder of a model on the codes that it reads at inference. Nothing else of the model changes.

    Args:
        model: A `SparseAutoencoder` that `check_refit` accepts.
    """

    def __init__(self, model):
        inputs = keras.Input(batch_shape=model.encoder.inputs[0].shape, dtype=model.encoder.inputs[0].dtype)
        super().__init__(inputs, model.decoder(_Codes(model.encoder)(inputs)), name=DECODER)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, x, y_pred, sample_weight, training)  # labels are for penalties of the code


class _Codes(keras.layers.Layer):
    """The codes of an encoder at inference, whose variables do not belong to this layer."""

    def __init__(self, encoder):
        super().__init__(dtype=encoder.outputs[0].dtype)
        self._untracked = types.SimpleNamespace(encoder=encoder)

    def call(self, inputs):
        return ops.stop_gradient(self._untracked.encoder(inputs, training=False))
