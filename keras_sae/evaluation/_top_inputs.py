import collections

import keras
import numpy as np

from keras_sae._checks import check_integer, nearest
from keras_sae.evaluation._encode import batches_of
from keras_sae.evaluation._neighbours import unit_rows

_DRAWS = 1000  # random sets of inputs, for what chance would give
_LEVEL = 95  # percent of them that a coherent unit exceeds


def top_inputs(model, x, count=10, labels=None, vectors=None, names=None, seed=0):
    """The inputs that excite each unit most, and how much these have in common: what a unit stands for.

    A unit is *coherent* if its inputs have more in common than 95 % of random sets of as many inputs. So a model whose units
    mean nothing has about 5 % of coherent units. What inputs have in common is measured

    - with `vectors`, by the mean cosine between two of them (`similarity`). Take another embedding of the same inputs, which
      the model was not trained on; otherwise units are coherent by construction;
    - with `labels`, by the share of the most frequent label (`purity`).

    Args:
        model: A `SparseAutoencoder`, or an encoder.
        x: Array of inputs `(n, ...)`. uint8 is divided by 255. In codes of maps, a unit's value is its largest one.
        count: Integer, at least 2. Inputs per unit; fewer where a unit is active, that is above 0, in fewer.
        labels: Integer array `(n,)`. Negative ones are left out.
        vectors: Array `(n, d)`. Coherence is judged by them if there are labels too.
        names: List of `n` texts, such as words, to show in place of row numbers.
        seed: Integer. Fixes the random sets.

    Returns:
        Dictionary of plain data: `units`, a list with a dictionary for each unit: `unit`, its index; `rate`, the share of
        inputs in which it is active; `inputs`, rows of `x` or names, strongest first; `values`, its activations; and where
        they are measured, `similarity`, `purity` and its `label`, and `coherent`. And over all units: `active`, the share that
        is active for some input; `coherent`, the share that is coherent; `similarity` and `purity`, means over the units that
        have one; and `chance_similarity` and `chance_purity`, means of random sets.

    Example:

    >>> model = DenseAutoencoder(3, 4, KSparse(1))
    >>> result = top_inputs(model, np.random.rand(20, 3).astype("float32"), count=5, labels=np.arange(20) % 2)
    >>> sorted(result["units"][0])
    ['coherent', 'inputs', 'label', 'purity', 'rate', 'unit', 'values']

    Reference:
        Subramanian et al., "SPINE: SParse Interpretable Neural Embeddings", AAAI 2018, which asks people what the top words
        of a unit have in common.
    """
    check_integer("count", count, "is the number of inputs for each unit", at_least=2, at_most=len(x))
    measures = {}
    for name, given in (("labels", labels), ("vectors", vectors), ("names", names)):
        if given is not None and len(given) != len(x):
            raise ValueError(f"`{name}` has one entry for each input. Received: {len(given)} for {len(x)} inputs.")
    if labels is not None:
        measures["purity"] = _Purity(np.asarray(labels), seed)
    if vectors is not None:
        measures["similarity"] = _Similarity(vectors, seed)
    rows, values, rates = _strongest(model, x, count)
    units = []
    for unit, rate in enumerate(rates):
        active = values[unit] > 0
        found = rows[unit][active]
        each = {"unit": unit, "rate": float(rate)}
        each["inputs"] = [str(names[row]) for row in found] if names is not None else found.tolist()
        each["values"] = [float(value) for value in values[unit][active]]
        for name, measure in measures.items():
            each[name] = measure.of(found)
            each["coherent"] = each[name] is not None and each[name] > measure.threshold(len(found))
            if name == "purity":
                each["label"] = measure.label(found)
        units.append(each)
    result = {"units": units, "active": float((rates > 0).mean())}
    for name, measure in measures.items():
        measured = [each[name] for each in units if each[name] is not None]
        result |= {name: float(np.mean(measured)) if measured else 0.0, f"chance_{name}": measure.by_chance(count)}
    return result | ({"coherent": float(np.mean([each["coherent"] for each in units]))} if measures else {})


def _strongest(model, x, count):
    """The rows of the `count` inputs that excite each unit most and its values, `(units, count)`, and its rate."""
    encoder = getattr(model, "encoder", model)
    values = rows = active = None
    start = 0
    for inputs in batches_of(encoder, x):
        codes = keras.ops.convert_to_numpy(keras.ops.cast(encoder(inputs, training=False), "float32"))
        codes = codes.reshape(len(codes), -1, codes.shape[-1]).max(axis=1)  # (batch, units), of the strongest position
        numbers = np.broadcast_to(start + np.arange(len(codes))[:, None], codes.shape)
        active = (codes > 0).sum(axis=0) + (0 if active is None else active)
        if values is not None:
            codes, numbers = np.concatenate([values, codes]), np.concatenate([rows, numbers])
        kept = np.argpartition(-codes, min(count, len(codes)) - 1, axis=0)[:count]
        values, rows = np.take_along_axis(codes, kept, axis=0), np.take_along_axis(numbers, kept, axis=0)
        start += len(inputs)
    order = np.lexsort((rows, -values), axis=0)
    return *(np.take_along_axis(each, order, axis=0).T for each in (rows, values)), active / start


class _InCommon:
    """What sets of inputs have in common, and what it is by chance."""

    def __init__(self, inputs, seed):
        self.inputs = inputs  # those that can be measured
        self.seed = seed
        self.drawn = {}

    def _of_draws(self, count):
        if count not in self.drawn:
            random = np.random.default_rng(self.seed)
            sets = [random.choice(self.inputs, count, replace=False) for _ in range(_DRAWS)]
            self.drawn[count] = np.array([self.of(each) for each in sets])
        return self.drawn[count]

    def by_chance(self, count):
        return float(self._of_draws(min(count, len(self.inputs))).mean())

    def threshold(self, count):
        return float(np.percentile(self._of_draws(min(count, len(self.inputs))), _LEVEL))


class _Similarity(_InCommon):
    def __init__(self, vectors, seed):
        super().__init__(np.arange(len(vectors)), seed)
        self.vectors = unit_rows(np.asarray(vectors))

    def of(self, rows):
        """The mean cosine between two of the inputs; None for fewer than two."""
        if len(rows) < 2:
            return None
        total = self.vectors[rows].sum(axis=0, dtype="float64")
        own = np.square(self.vectors[rows], dtype="float64").sum()
        return float((total @ total - own) / (len(rows) * (len(rows) - 1)))


class _Purity(_InCommon):
    def __init__(self, labels, seed):
        super().__init__(np.flatnonzero(labels >= 0), seed)
        self.labels = labels

    def _counted(self, rows):
        return collections.Counter(self.labels[rows][self.labels[rows] >= 0].tolist())

    def of(self, rows):
        """The share of the most frequent label; None for fewer than two labels."""
        counted = self._counted(rows)
        return max(counted.values()) / counted.total() if counted.total() > 1 else None

    def label(self, rows):
        return self._counted(rows).most_common(1)[0][0] if self._counted(rows) else None


def read_examples(path):
    """The content of a `.npz` file for the suite `units`: `inputs`, and where they are there, `names`, `vectors`, `labels`."""
    known = ("inputs", "names", "vectors", "labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise ValueError(f"`examples` is the path of a .npz file of arrays. Received: {str(path)!r} ({error}).") from error
    for key in content:
        if key not in known:
            raise ValueError(f"A file of `examples` has the arrays {', '.join(known)}. {nearest(key, known)}Received: {key!r}.")
    if "inputs" not in content:
        raise ValueError(f"A file of `examples` needs the array 'inputs'. Received: {str(path)!r} with {', '.join(content)}.")
    return content
