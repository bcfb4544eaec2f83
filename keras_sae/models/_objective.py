import keras
from keras import ops

from keras_sae.distributed import sum_over_replicas
from keras_sae.regularizers._activity_penalty import (
    in_statistics_dtype,
    penalty_name,
    position_count,
    totals_of,
    value_or_zero,
)


class Objective(keras.layers.Layer):
    """The penalties of a model, and what they remember from step to step.

    Args:
        charges: List of pairs: the name of a code, and the penalty that charges it.
        units: Dictionary from the name of each code to its width.

    Attributes:
        penalties: List of the penalties.
        names: List of the names that they are logged by.
        scales: Saved weight of an entry for each penalty, 1 at first, by which its value is multiplied;
            `keras_sae.callbacks.PenaltySchedule` changes it.
    """

    def __init__(self, charges, units):
        super().__init__(name="objective", dtype="float32")
        self.codes = [code for code, _ in charges]
        self.penalties = [penalty for _, penalty in charges]
        self.names = list(_unique(charges))
        # The same on every replica, so that one of them can speak for all.
        same = {"trainable": False, "dtype": "float32", "aggregation": "only_first_replica"}
        self.scales = self.add_weight(shape=(len(charges),), initializer="ones", name="scales", **same)
        self.running = [
            None
            if getattr(penalty, "momentum", None) is None
            else self.add_weight(shape=(units[code] + 1,), initializer="zeros", name=f"running_{name}", **same)
            for name, (code, penalty) in zip(self.names, charges, strict=True)
        ]
        self.built = True

    @property
    def supervised(self):
        """Whether a penalty needs class labels."""
        return any(getattr(penalty, "supervised", False) for penalty in self.penalties)

    def values(self, codes, labels, training):
        """What each penalty charges for the codes of the whole batch, on every replica the same.

        The sums that the penalties are functions of travel together, in one all-reduce; each penalty is then a function of
        the global sums, as it would be on one device.

        Args:
            codes: Dictionary from the names of the codes to this replica's share of them, `(batch, ..., units)`.
            labels: Class labels of these samples, or None; supervised penalties then charge nothing.
            training: Whether running means move.

        Returns:
            List of scalars, in the order of `penalties`; and the number of samples in the whole batch.
        """
        codes = {name: in_statistics_dtype(codes[name]) for name in dict.fromkeys(self.codes)}
        shares = [position_count(code) for code in codes.values()]
        shares.append(ops.cast(ops.shape(codes[self.codes[0]])[0], shares[0].dtype))
        place = {name: index for index, name in enumerate(codes)}
        for name, penalty in zip(self.codes, self.penalties, strict=True):
            idle = labels is None and getattr(penalty, "supervised", False)
            totals = ops.zeros(()) if idle else totals_of(penalty, codes[name], labels)
            shares.append(ops.cast(totals, shares[0].dtype))
        shares = _sums(shares)
        positions, samples, totals_by_penalty = shares[: len(codes)], shares[len(codes)], shares[len(codes) + 1 :]
        values = []
        for index, (name, penalty) in enumerate(zip(self.codes, self.penalties, strict=True)):
            totals, count = totals_by_penalty[index], positions[place[name]]
            if labels is None and getattr(penalty, "supervised", False):
                values.append(ops.zeros_like(totals))
                continue
            if training and self.running[index] is not None:
                totals = self._running_totals(index, totals, count)
            values.append(value_or_zero(penalty, totals, count) * ops.cast(self.scales[index], totals.dtype))
        return values, samples

    def _running_totals(self, index, totals, positions):
        """Totals of a running mean, with the gradient of the batch's own.

        Totals and positions are averaged together, so that large batches count for more and the first batch is a mean
        already. The result is as if the present batch had that mean.
        """
        seen = ops.stop_gradient(ops.concatenate([totals, ops.expand_dims(positions, 0)]))
        running = self.running[index]
        new = self.penalties[index].momentum * ops.cast(running, seen.dtype) + seen
        running.assign(ops.cast(new, running.dtype))
        mean = new[:-1] / ops.maximum(new[-1], 1)
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


def _unique(charges):
    """Names the penalties: by their class, after the name of the code where it is not the last, and numbered (l1, l1_1)."""
    seen = {}
    for code, penalty in charges:
        name = penalty_name(penalty) if code == "code" else f"{code}_{penalty_name(penalty)}"
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{seen[name]}" if seen[name] else name
