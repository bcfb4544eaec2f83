import keras

from keras_sae.regularizers._decoded_penalty import LossesPenalty, read_loss, read_terms


@keras.saving.register_keras_serializable(package="keras_sae")
class SeveralK(LossesPenalty):
    """Adds the losses of reconstructions from other numbers of entries than the selection keeps.

        penalty = sum_i weight_i * loss(x, decode(the k_i largest entries of what the selection reads))

    One model then gives good codes at several sizes: keep more entries where memory allows, fewer where it does not. A larger
    `k` also trains units that seldom win, so fewer of them die. With `KSparse(k)`, the losses L(k) + L(4k) / 8 of the
    literature are `sparsity=[KSparse(k), SeveralK(4 * k)]`.

    Args:
        k: Integer, or list of integers, each at least 1 and at most the number of units. Entries kept at each position, by
            value or magnitude as in the selection of the model. The units of a position compete.
        weight: Float, at least 0, or a list of one for each `k`.
        loss: Name of a loss in snake case, or a function that keeps positions. Usually that of `compile`.

    Example:

    >>> model = DenseAutoencoder(4, 16, sparsity=[KSparse(2), SeveralK([1, 8], weight=[0.5, 0.125])])
    >>> model.compile("adam", "mse")
    >>> sorted(model.fit(np.random.rand(8, 4), verbose=0).history)
    ['loss', 'reconstruction_loss', 'several_k']

    References:
        Gao et al., "Scaling and evaluating sparse autoencoders", 2024, Multi-TopK, https://arxiv.org/abs/2406.04093. Wen et
        al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", 2025, https://arxiv.org/abs/2503.01776.
    """

    def __init__(self, k, weight=0.125, loss="mse"):
        self.k, self.weight, self.loss = k, weight, loss
        self._k, self._weights = read_terms("k", k, weight, "counts the entries of a code that are kept")
        self._loss = read_loss(loss)

    def check_code(self, code, selection):
        units = code.shape[-1]
        if max(self._k) > units:
            raise ValueError(
                f"`k` of SeveralK counts entries of a code, and cannot exceed its {units} units. Received: k={self.k}."
            )
        if len(code.shape) > 2 and getattr(selection, "across", "units") != "units":
            raise ValueError(
                "SeveralK keeps the largest units of each position, and in this model others compete: "
                f"across={selection.across!r}. Leave SeveralK out, or select across units."
            )

    def reconstructions(self, decoding):
        return [decoding.of_largest(k) for k in self._k]

    def get_config(self):
        return {"k": self.k, "weight": self.weight, "loss": keras.losses.serialize(self._loss)}


@keras.saving.register_keras_serializable(package="keras_sae")
class NestedPrefixes(LossesPenalty):
    """Adds the losses of reconstructions from the first units of the code alone, as in a Matryoshka sparse autoencoder.

        penalty = sum_i weight_i * loss(x, decode(the code, zero from unit units_i on))

    The first units then learn what is most general, later ones the details. The code can be cut off after any of the sizes.

    Args:
        units: Integer, or list of integers, each at least 1 and less than the width of the code. Sizes of the prefixes.
        weight: Float, at least 0, or a list of one for each size.
        loss: Name of a loss in snake case, or a function that keeps positions. Usually that of `compile`.

    Example:

    >>> model = DenseAutoencoder(4, 16, sparsity=[BatchKSparse(2), NestedPrefixes([4, 8])])
    >>> model.compile("adam", "mse")
    >>> sorted(model.fit(np.random.rand(8, 4), verbose=0).history)
    ['loss', 'nested_prefixes', 'reconstruction_loss']

    Reference:
        Bussmann, Nabeshima, Karvonen and Nanda, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders", 2025,
        https://arxiv.org/abs/2503.17547.
    """

    def __init__(self, units, weight=1.0, loss="mse"):
        self.units, self.weight, self.loss = units, weight, loss
        self._units, self._weights = read_terms("units", units, weight, "is the number of the first units of a prefix")
        self._loss = read_loss(loss)

    def check_code(self, code, selection):
        if max(self._units) >= code.shape[-1]:
            raise ValueError(
                f"A prefix of NestedPrefixes has fewer units than the code, which has {code.shape[-1]}. "
                f"Received: units={self.units}."
            )

    def reconstructions(self, decoding):
        return [decoding.of_prefix(units) for units in self._units]

    def get_config(self):
        return {"units": self.units, "weight": self.weight, "loss": keras.losses.serialize(self._loss)}
