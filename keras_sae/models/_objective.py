import keras
from keras import ops

from keras_sae.distributed import sum_over_replicas
from keras_sae.regularizers import in_statistics_dtype, penalty_name, position_count, totals_of, value_or_zero


class Objective(keras.layers.Layer):
    """The penalties of a model, and the state that they keep from step to step.

    Args:
        penalties: Dictionary from names of codes to lists of the penalties that charge them.
        units: Dictionary from names of codes to their widths.

    Attributes:
        penalties: List of the penalties.
        codes: List of the names of the codes that they charge.
        names: List of the names that they are logged by.
        scales: Saved weight of an entry for each penalty, 1 at first, that its value is multiplied by;
            `keras_sae.callbacks.PenaltySchedule` changes it.
    """

    def __init__(self, penalties, units):
        super().__init__(name="objective", dtype="float32")
        self.codes = [code for code, several in penalties.items() for _ in several]
        self.penalties = [penalty for several in penalties.values() for penalty in several]
        self.names = list(_unique(zip(self.codes, self.penalties, strict=True)))
        # All replicas hold the same, so one of them can speak for all.
        same = {"trainable": False, "dtype": "float32", "aggregation": "only_first_replica"}
        self.scales = self.add_weight(shape=(len(self.penalties),), initializer="ones", name="scales", **same)
        self.running = [
            None
            if getattr(penalty, "momentum", None) is None
            else self.add_weight(shape=(units[code] + 1,), initializer="zeros", name=f"running_{name}", **same)
            for name, code, penalty in zip(self.names, self.codes, self.penalties, strict=True)
        ]
        self.built = True

    @property
    def supervised(self):
        """Whether a penalty needs class labels."""
        return any(getattr(penalty, "supervised", False) for penalty in self.penalties)

    def values(self, codes, labels, training):
        """The value of each penalty for the codes of the whole batch, the same on every replica.

        Each penalty is a function of sums over positions. One all-reduce adds these sums up over the replicas, so that each
        penalty has the value it would have on one device.

        Args:
            codes: Dictionary from the names of the codes to this replica's share of them, `(batch, ..., units)`.
            labels: Class labels of these samples. Without them (None) supervised penalties are 0.
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
        """Totals that give the batch the running mean, with the gradient of the batch's own totals.

        Totals and positions are averaged together, so large batches count for more, and the first batch is a mean already.
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


def _unique(pairs):
    """Names for penalties, given with their codes: `l1`, `l1_1`, and `level_1_l1` for a code other than the last."""
    seen = {}
    for code, penalty in pairs:
        name = penalty_name(penalty) if code == "code" else f"{code}_{penalty_name(penalty)}"
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{seen[name]}" if seen[name] else name


def target_and_labels(supervised, x, y, y_pred, training):
    """The target of the reconstruction, and the class labels where a penalty takes them.

    Args:
        supervised: Whether a penalty takes class labels.
        x: The input, which is the target where none is given.
        y: None, or the target. Where a penalty is supervised, also the labels, or the pair (target, labels).
        y_pred: The reconstruction.
        training: Whether a supervised penalty needs its labels.

    Raises:
        ValueError: The target has another shape than the reconstruction, or labels are missing or are not one integer for
            each sample.
    """
    if not supervised:
        return _target(x, y, y_pred), None
    if isinstance(y, (list, tuple)) and len(y) == 2:
        target, labels = y
    elif y is None or (len(y.shape) == len(y_pred.shape) and tuple(y.shape[1:]) == tuple(y_pred.shape[1:])):
        target, labels = y, None
    else:
        target, labels = None, y
    if labels is None and training:
        raise ValueError(
            "A supervised penalty such as GroupL21 needs class labels in training: fit(x, labels), or "
            "fit(noisy, (clean, labels)). Received no labels."
        )
    if labels is not None and (len(labels.shape) > 2 or (len(labels.shape) == 2 and labels.shape[1] != 1)):
        raise ValueError(
            f"Class labels are integers of shape (batch,). Received: labels of shape {tuple(labels.shape)}. Turn one-hot "
            "labels into integers by numpy.argmax(labels, axis=-1)."
        )
    return _target(x, target, y_pred), labels


def _target(x, y, y_pred):
    """The tensor that the reconstruction is compared with: `y`, or the input where there is none."""
    target = x if y is None else y
    shapes = [tuple(tensor.shape) for tensor in (target, y_pred)]
    if len(shapes[0]) == len(shapes[1]) - 1:
        shapes[0] = (*shapes[0], 1)  # Keras' losses allow a last axis of size 1 to be left out
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
