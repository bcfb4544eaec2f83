import keras
from keras import ops

from keras_sae.distributed import sum_over_replicas
from keras_sae.regularizers import (
    DecodedPenalty,
    as_penalty,
    in_statistics_dtype,
    penalty_name,
    position_count,
    position_weights,
    totals_of,
    value_or_zero,
)

KERNEL_REGULARIZER = "kernel_regularizer"  # the name that the regularization of kernels is logged by


class Objective(keras.layers.Layer):
    """The penalties of a model, and the state that they keep from step to step.

    Args:
        penalties: Dictionary from names of codes to lists of the penalties that charge them.
        shapes: Dictionary from names of codes to their shapes, `(batch, ..., units)`.

    Attributes:
        penalties: List of the penalties.
        codes: List of the names of the codes that they charge.
        names: List of the names that they are logged by.
        scales: Saved weight of an entry for each penalty, 1 at first, that its value is multiplied by;
            `keras_sae.callbacks.PenaltySchedule` changes it.
    """

    def __init__(self, penalties, shapes):
        super().__init__(name="objective", dtype="float32")
        self.codes = [code for code, several in penalties.items() for _ in several]
        self.penalties = [penalty for several in penalties.values() for penalty in several]
        # What charges the codes: the penalties themselves, and regularizers of Keras as sums or means.
        self._charges = [as_penalty(penalty, shapes[code]) for code, penalty in zip(self.codes, self.penalties, strict=True)]
        self.names = list(_unique(zip(self.codes, self.penalties, strict=True)))
        # All replicas hold the same, so one of them can speak for all.
        same = {"trainable": False, "dtype": "float32", "aggregation": "only_first_replica"}
        self.scales = self.add_weight(shape=(len(self.penalties),), initializer="ones", name="scales", **same)
        self.running = [
            None
            if getattr(penalty, "momentum", None) is None
            else self.add_weight(shape=(shapes[code][-1] + 1,), initializer="zeros", name=f"running_{name}", **same)
            for name, code, penalty in zip(self.names, self.codes, self.penalties, strict=True)
        ]
        self.decodes = any(isinstance(penalty, DecodedPenalty) for penalty in self.penalties)
        self.silent = None  # for each unit, the positions of training since it fired last
        if any(getattr(penalty, "counts_silence", False) for penalty in self.penalties):
            self.silent = self.add_weight(shape=shapes["code"][-1:], initializer="zeros", name="silent", **same)
        self.built = True

    @property
    def supervised(self):
        """Whether a penalty needs class labels."""
        return any(getattr(penalty, "supervised", False) for penalty in self.penalties)

    def values(self, codes, labels, training, sample_weight=None, masks=None, together=True, decoding=None):
        """The value of each penalty for the codes of the whole batch, the same on every replica.

        Each penalty is a function of sums over positions. One all-reduce adds these sums up over the replicas, so that each
        penalty has the value it would have on one device.

        Args:
            codes: Dictionary from the names of the codes to this replica's share of them, `(batch, ..., units)`.
            labels: Class labels of these samples. Without them (None) supervised penalties are 0.
            training: Whether running means move. They do not where the objective is frozen.
            sample_weight: None, or the weights of samples or positions, which weight the sums.
            masks: None, or a dictionary from the names of codes to masks. Masked steps count as little as weights of 0.
            decoding: A `Decoding`, where a penalty needs the decoder.
            together: Whether to add up the replicas' sums. Otherwise the values are those of this replica's share.

        Returns:
            List of scalars, in the order of `penalties`; a list of the weight that each has in the mean of an epoch, None
            for the number of samples; and the number of samples in the whole batch.
        """
        codes = {name: in_statistics_dtype(codes[name]) for name in dict.fromkeys(self.codes)}
        weights = {name: position_weights(code, sample_weight, (masks or {}).get(name)) for name, code in codes.items()}
        shares = [position_count(code, weights[name]) for name, code in codes.items()]
        shares.append(ops.cast(ops.shape(codes[self.codes[0]])[0], shares[0].dtype))
        place = {name: index for index, name in enumerate(codes)}
        counts = [None if weights[name] is None else shares[place[name]] for name in self.codes]
        if self.decodes:
            decoding.silent = self.silent
            shares.append(ops.cast(decoding.positions, shares[0].dtype))
            shares.append(ops.cast(ops.zeros(()) if self.silent is None else decoding.fired(), shares[0].dtype))
        first = len(shares)
        for name, charge in zip(self.codes, self._charges, strict=True):
            if isinstance(charge, DecodedPenalty):
                totals = charge.totals(decoding)
            else:
                idle = labels is None and charge.supervised
                totals = ops.zeros(()) if idle else totals_of(charge, codes[name], labels, weights[name])
            shares.append(ops.cast(totals, shares[0].dtype))
        shares = _sums(shares) if together else shares
        positions, samples, totals_by_penalty = shares[: len(codes)], shares[len(codes)], shares[first:]
        if training and self.trainable and self.silent is not None:
            *fired, counted = ops.split(shares[first - 1], [self.silent.shape[0]])
            self.silent.assign(ops.where(fired[0] > 0, 0.0, ops.convert_to_tensor(self.silent) + counted[0]))
        values = []
        for index, (name, charge) in enumerate(zip(self.codes, self._charges, strict=True)):
            totals = totals_by_penalty[index]
            count = shares[first - 2] if isinstance(charge, DecodedPenalty) else positions[place[name]]
            if labels is None and charge.supervised:
                values.append(ops.zeros_like(totals))
                continue
            if training and self.trainable and self.running[index] is not None:
                totals = self._running_totals(index, totals, count)
            values.append(value_or_zero(charge, totals, count) * ops.cast(self.scales[index], totals.dtype))
        return values, counts, samples

    def _running_totals(self, index, totals, positions):
        """Totals that give the batch the running mean, with the gradient of the batch's own totals.

        Totals and positions are averaged together, so large batches count for more, and the first batch is a mean already.
        """
        seen = ops.stop_gradient(ops.concatenate([totals, ops.expand_dims(positions, 0)]))
        running = self.running[index]
        new = self.penalties[index].momentum * ops.cast(running, seen.dtype) + seen
        running.assign(ops.cast(new, running.dtype))
        mean = new[:-1] / ops.where(new[-1] > 0, new[-1], 1)
        return totals + ops.stop_gradient(mean * positions - totals)


def _sums(tensors):
    """Sums of each tensor over the replicas, by one all-reduce."""
    flat = [ops.reshape(tensor, (-1,)) for tensor in tensors]
    joined = sum_over_replicas(ops.concatenate(flat))
    sums, start = [], 0
    for tensor, entries in zip(tensors, flat, strict=True):
        size = ops.shape(entries)[0]
        sums.append(ops.reshape(joined[start : start + size], ops.shape(tensor)))
        start = start + size
    return sums


def _unique(pairs):
    """Names for penalties, given with their codes: `l1`, `l1_1`, and `level_1_l1` for a code other than the last."""
    seen = {}
    for code, penalty in pairs:
        name = penalty_name(penalty) if code == "code" else f"{code}_{penalty_name(penalty)}"
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{seen[name]}" if seen[name] else name
