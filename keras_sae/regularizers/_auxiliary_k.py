import keras
from keras import ops

from keras_sae._checks import check_integer, check_number
from keras_sae.regularizers._decoded_penalty import DecodedPenalty


@keras.saving.register_keras_serializable(package="keras_sae")
class AuxiliaryK(DecodedPenalty):
    """Revives dead units: they learn to reconstruct what the living units leave over.

        e = x - reconstruction, without gradient
        e' = decode(the k largest entries of dead units) - decode(0)
        penalty = weight * mean |e - e'|^2 / variance of e

    The means are over the batch. A unit is dead if it did not fire at `dead_after` positions of training in a row. Where no
    unit is dead, the penalty is 0. Dead units get gradients from it that they would not get otherwise, and return when what
    they learned wins the selection. The counts are saved with the model.

    Args:
        k: Integer, at least 1: how many dead units reconstruct the rest. None: half as many as the target has entries for each
            position of the code.
        dead_after: Integer, at least 1. Positions (samples, where codes are vectors) without firing after which a unit is
            dead. Choose the size of a few epochs.
        weight: Float, at least 0.

    Example:

    >>> model = DenseAutoencoder(4, 16, sparsity=[KSparse(2), AuxiliaryK(dead_after=20)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.random.default_rng(0).normal(size=(64, 4)), epochs=2, verbose=0)
    >>> history.history["auxiliary_k"][-1] > 0            # some of the 16 units are dead
    True

    Reference:
        Gao et al., "Scaling and evaluating sparse autoencoders", 2024, appendix A.2, https://arxiv.org/abs/2406.04093.
    """

    counts_silence = True

    def __init__(self, k=None, dead_after=100_000, weight=1 / 32):
        self.k = None if k is None else check_integer("k", k, "counts the dead units that reconstruct the residual")
        self.dead_after = check_integer("dead_after", dead_after, "is the number of positions after which a unit is dead")
        self.weight = check_number("weight", weight, "is the factor of the penalty", at_least=0)

    def check_code(self, code, selection):
        if self.k is not None and self.k > code.shape[-1]:
            raise ValueError(f"`k` of AuxiliaryK cannot exceed the {code.shape[-1]} units of the code. Received: k={self.k}.")

    def totals(self, decoding):
        dead = decoding.silent >= self.dead_after  # (units,)
        k = min(max(1, decoding.entries // 2) if self.k is None else self.k, dead.shape[0])
        residual = ops.stop_gradient(decoding.target - decoding.reconstruction)
        rest = decoding.of_largest(k, among=dead) - ops.stop_gradient(decoding.of_nothing())
        sums = [decoding.sum(ops.mean(ops.square(each), axis=-1)) for each in (residual - rest, residual)]
        any_dead = ops.cast(ops.any(dead), sums[0].dtype)
        return ops.concatenate([ops.stack([*sums, any_dead]), decoding.sum(residual)])

    def value(self, totals, positions):
        errors, squares, any_dead, sums = totals[0], totals[1], totals[2], totals[3:]
        variance = squares / positions - ops.mean(ops.square(sums / positions))
        value = self.weight * errors / positions / ops.maximum(variance, 1e-12)
        return ops.where(any_dead > 0, value, ops.zeros_like(value))

    def get_config(self):
        return {"k": self.k, "dead_after": self.dead_after, "weight": self.weight}
