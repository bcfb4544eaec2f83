import keras
from keras import ops

from keras_sae.ops import input_gradient

_TINY = 1e-30  # keeps the logarithm finite


class AdversarialClassifier(keras.Model):
    """A functional classifier that trains on each batch and on the same batch, changed so that its loss grows.

    The loss is the mean of the loss of the images `x` and that of `x + step * sign(gradient of the loss for x)`: the fast
    gradient sign method of Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, 2015,
    arXiv:1412.6572. The gradient is computed in training, with dropout. The outputs are probabilities `(batch, classes)`.
    """

    def __init__(self, inputs, outputs, step):
        super().__init__(inputs, outputs)
        self.step = step

    def adversarial(self, x, y, training=False):
        """Images near `x` that the classifier finds harder. `y` are class indices `(batch,)`."""
        x = ops.convert_to_tensor(x)

        def loss(x):
            probabilities = self(x, training=training)
            chosen = ops.one_hot(ops.reshape(y, (-1,)), probabilities.shape[-1], dtype=probabilities.dtype)
            return -ops.log(ops.sum(probabilities * chosen, axis=-1) + _TINY)

        return x + self.step * ops.sign(input_gradient(loss, x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        harder = self.adversarial(x, y, training=True)
        return (loss + super().compute_loss(harder, y, self(harder, training=True), sample_weight, training)) / 2
