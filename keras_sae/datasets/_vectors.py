"""Vectors in NumPy files, such as embeddings, as data sets that are read from disk when needed."""

import zipfile
from pathlib import Path

import numpy as np

from keras_sae.datasets._splits import examples_of

OPTIONS = ()

_BLOCK = 2**22  # bytes that are read at a time


class Vectors:
    """The rows of a `.npy` file, or of the arrays of a `.npz` file. Files are mapped into memory, not read as a whole.

    Args:
        path: A `.npy` file of an array of numbers of shape `(n, ...)`. Or a `.npz` file of one such array for each split,
            `train` and `test`, and of their labels, `train_label` and `test_label`, where there are some. The keys
            `train_image` and `test_image` are understood too. Arrays in a compressed `.npz` file are read whole.

    Attributes:
        counts: Dictionary from splits to their numbers of rows. A `.npy` file has the split "train".

    Raises:
        ValueError: The file is damaged, or holds no such arrays.
    """

    def __init__(self, path):
        self.path = Path(path).expanduser()
        stored = {"train": _mapped(self.path)} if self.path.suffix.lower() == ".npy" else _members(self.path)
        named = {key.removesuffix("_image"): array for key, array in stored.items() if not key.endswith("_label")}
        for split, array in named.items():
            _check(self.path, split, array)
        if len({array.shape[1:] for array in named.values()}) > 1:
            shapes = ", ".join(f"{split} {array.shape}" for split, array in named.items())
            raise ValueError(f"All splits of {str(self.path)!r} need vectors of the same size. Received: {shapes}.")
        self.arrays_by_split = named
        self.labels_by_split = {key.removesuffix("_label"): each for key, each in stored.items() if key.endswith("_label")}
        for split, labels in self.labels_by_split.items():
            count = len(named.get(split, ()))
            if len(labels) != count:
                raise ValueError(
                    f"Each vector needs one label, and {str(self.path)!r} has {count:,} vectors of {split!r} and "
                    f"{len(labels):,} labels."
                )
        self.counts = {split: len(array) for split, array in named.items()}
        self.class_names = []

    def rows_of(self, split):
        """Pairs of a split and the rows of it: a slice for all of them, or the sorted indices of a share.

        A share such as `"train[:80%]"` is drawn at random, the same on every machine: many files are sorted.
        """
        chosen = []
        for part, rows in examples_of(str(self.path), split, self.counts):
            start, stop, _ = rows.indices(self.counts[part])
            whole = (start, stop) == (0, self.counts[part])
            order = None if whole else np.random.default_rng(0).permutation(self.counts[part])
            chosen.append((part, slice(0, stop) if whole else np.sort(order[start:stop])))
        return chosen

    def arrays(self, split):
        """The rows of a split and their labels, or None. All rows of a file stay mapped."""
        chosen = self.rows_of(split)
        parts = [self.arrays_by_split[part][rows] for part, rows in chosen]
        labels = [self.labels_by_split[part][rows] for part, rows in chosen if part in self.labels_by_split]
        labels = np.concatenate(labels) if len(labels) == len(parts) else None
        return parts[0] if len(parts) == 1 else np.concatenate(parts), labels

    def dataset(self, split):
        """The same as a `tf.data.Dataset`, which reads a few thousand rows at a time."""
        import tensorflow as tf

        chosen = self.rows_of(split)
        labelled = all(part in self.labels_by_split for part, _ in chosen)
        parts = [self._streamed(part, rows, labelled) for part, rows in chosen]
        dataset = parts[0]
        for part in parts[1:]:
            dataset = dataset.concatenate(part)
        return dataset.apply(tf.data.experimental.assert_cardinality(sum(map(_length, (rows for _, rows in chosen)))))

    def _streamed(self, part, rows, labelled):
        import tensorflow as tf

        columns = {"image": self.arrays_by_split[part]}
        if labelled:
            columns["label"] = self.labels_by_split[part]
        count, kinds = _length(rows), [tf.as_dtype(column.dtype) for column in columns.values()]
        block = max(1, _BLOCK // max(1, columns["image"][:1].nbytes))

        def read(start):
            wanted = slice(start, min(start + block, count))
            wanted = wanted if isinstance(rows, slice) else rows[wanted]
            return [np.ascontiguousarray(column[wanted]) for column in columns.values()]

        def of_block(start):
            tensors = zip(columns.items(), tf.numpy_function(read, [start], kinds, stateful=False), strict=True)
            return {name: tf.ensure_shape(each, (None, *column.shape[1:])) for (name, column), each in tensors}

        return tf.data.Dataset.range(0, max(count, 1), block).map(of_block).unbatch() if count else _nothing(columns)


def _length(rows):
    return rows.stop if isinstance(rows, slice) else len(rows)


def _nothing(columns):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices({name: np.asarray(column[:0]) for name, column in columns.items()})


def _check(path, split, array):
    if array.ndim < 2 or array.dtype.kind not in "biuf" or not array.size:
        is_series = path.suffix.lower() == ".npy" and array.ndim == 1
        hint = " Give `window`, the time steps of each window, if it is a series." if is_series else ""
        raise ValueError(
            f"Vectors are an array of numbers of shape (n, size). Received: shape {array.shape} and dtype {array.dtype} of "
            f"{split!r} in {str(path)!r}.{hint}"
        )


def _mapped(path):
    """The array in a `.npy` file, mapped into memory."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} is not a NumPy file of numbers, or is not complete ({error}).") from error


def _members(path):
    """The arrays in a `.npz` file by their keys, mapped into memory where they are not compressed."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = {}
            for info in archive.infolist():
                key = info.filename.removesuffix(".npy")
                if info.compress_type == zipfile.ZIP_STORED:
                    members[key] = _stored(path, file, info)
                else:
                    with archive.open(info) as member:
                        members[key] = np.lib.format.read_array(member, allow_pickle=False)
            return members
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ValueError(
            f"{str(path)!r} is not a file of arrays of numbers, or is not complete ({error}). Write it by "
            "numpy.savez(path, train=..., test=...)."
        ) from error


def _stored(path, file, info):
    """An array that lies in a zip file as it is."""
    file.seek(info.header_offset + 26)  # a local header has 30 bytes; the last four are the lengths of what follows
    name, extra = np.frombuffer(file.read(4), "<u2")
    file.seek(info.header_offset + 30 + int(name) + int(extra))
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{info.filename!r} holds Python objects")
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
