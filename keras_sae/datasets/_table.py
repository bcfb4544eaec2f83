"""Tables with a header, in CSV or Parquet files, as data sets of rows."""

from pathlib import Path

import numpy as np

from keras_sae._checks import nearest
from keras_sae.datasets._splits import examples_of

OPTIONS = ("columns", "label")
_SHOWN = 5  # columns, rows or values that an error shows


class Table:
    """The rows of a table: float32 of shape `(n, columns)`.

    Args:
        path: A `.csv` or `.parquet` file with a header.
        columns: List of the columns to read, in this order. By default all but `label`.
        label: The column that holds the class of a row, or None.

    Attributes:
        columns: The names of the columns.
        class_names: List of the values of `label`, sorted; empty without one.
        counts: `{"train": n}`.

    Raises:
        ValueError: Columns are unknown or hold texts, or values are missing. The message counts them by column.
    """

    def __init__(self, path, columns=None, label=None):
        self.path = Path(path).expanduser()
        table = read_table(self.path)
        self.columns = chosen_columns(self.path, table, columns, label)
        self.rows = numbers(self.path, table, self.columns)
        self.labels, self.class_names = None, []
        if label is not None:
            self.labels, self.class_names = _labels(self.path, table, label)
        self.counts = {"train": len(self.rows)}

    def rows_of(self, split):
        """The indices of the rows of a split, sorted.

        A share such as `"train[:80%]"` is drawn at random, the same on every machine: many tables are sorted.
        """
        order = np.random.default_rng(0).permutation(len(self.rows))
        chosen = [np.sort(order[rows]) for _, rows in examples_of(str(self.path), split, self.counts)]
        return np.concatenate(chosen)

    def arrays(self, split):
        """The rows of a split and their labels, or None."""
        rows = self.rows_of(split)
        return self.rows[rows], None if self.labels is None else self.labels[rows]

    def dataset(self, split):
        """The same as a `tf.data.Dataset`."""
        import tensorflow as tf

        rows, labels = self.arrays(split)
        return tf.data.Dataset.from_tensor_slices({"image": rows} if labels is None else {"image": rows, "label": labels})


def read_table(path):
    """The content of a CSV or Parquet file as a `pyarrow.Table`. Refuses files without header or rows."""
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise ImportError(f"{str(path)!r} is read by pyarrow, which is not installed: pip install pyarrow") from error
    try:
        table = (parquet.read_table if path.suffix.lower() == ".parquet" else csv.read_csv)(path)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"The table {str(path)!r} cannot be read: {str(error).splitlines()[0]}.") from error
    names = table.column_names
    if path.suffix.lower() == ".csv" and names and all(map(_is_number, names)):
        raise ValueError(
            f"The first row of a table names its columns, and {str(path)!r} begins with numbers: {', '.join(names[:_SHOWN])}. "
            "Add a first row with names."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Columns are read by their names, and {str(path)!r} has several named {', '.join(twice)}. Rename them."
        )
    if not len(table):
        raise ValueError(f"The table {str(path)!r} has no rows. Its columns are {', '.join(names[:20])}.")
    return table


def numbers(path, table, columns):
    """The columns as float32 of shape `(rows, columns)`. Refuses texts, missing and infinite values."""
    import pyarrow as pa

    texts = [name for name in columns if not _is_numeric(table.schema.field(name).type)]
    if texts:
        shown = "; ".join(f"{name} ({_examples(table[name])})" for name in texts[:_SHOWN])
        raise ValueError(
            f"A model reads numbers, and {len(texts)} of {len(columns)} columns of {str(path)!r} hold something else: {shown}"
            f"{'; ...' if len(texts) > _SHOWN else ''}. Leave them out by `columns` (the list of columns to read), name the "
            "class of a row by `label`, or turn categories into columns of 0 and 1, for example with pandas.get_dummies."
        )
    rows = np.empty((len(table), len(columns)), "float32")
    missing, infinite = {}, {}
    for position, name in enumerate(columns):
        column = table[name].combine_chunks() if isinstance(table[name], pa.ChunkedArray) else table[name]
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        nan = int(np.isnan(values).sum())
        with np.errstate(over="ignore"):
            rows[:, position] = values
        if nan:
            missing[name] = nan
        elif not np.isfinite(rows[:, position]).all():
            infinite[name] = int((~np.isfinite(rows[:, position])).sum())
    for counts, what, mend in (
        (missing, "Values are missing in", "Fill them, for example with the median of the column, or remove these rows"),
        (infinite, "Values are infinite, or too large for float32, in", "Replace them, or remove these rows"),
    ):
        if counts:
            shown = ", ".join(f"{name} ({count:,} of {len(rows):,})" for name, count in list(counts.items())[:20])
            raise ValueError(
                f"{what} {len(counts)} of {len(columns)} columns of {str(path)!r}: "
                f"{shown}{', ...' if len(counts) > 20 else ''}. {mend}."
            )
    return rows


def chosen_columns(path, table, columns, label):
    """The names of the columns to read, checked."""
    known = table.column_names
    if columns is not None and (not isinstance(columns, list | tuple) or not columns):
        raise ValueError(f"`columns` is the list of the names of the columns to read. Received: columns={columns!r}.")
    for name in [*(columns or ()), *([] if label is None else [label])]:
        if name not in known:
            raise ValueError(f"The table {str(path)!r} has no column {name!r}. {nearest(name, known)}It has {_listed(known)}.")
    chosen = list(columns) if columns is not None else [name for name in known if name != label]
    if label in chosen:
        raise ValueError(f"A model does not read the label, and {label!r} is named in `columns` too. Remove it there.")
    if not chosen:
        raise ValueError(f"The table {str(path)!r} has no columns but {label!r}.")
    return chosen


def _labels(path, table, label):
    column = table[label]
    if column.null_count:
        raise ValueError(
            f"{column.null_count:,} of {len(column):,} rows of {str(path)!r} have no value of {label!r}, the label. "
            "Fill them, or remove these rows."
        )
    names, labels = np.unique(np.array(column.to_pylist()), return_inverse=True)
    return labels.astype("int64"), [str(name) for name in names]


def _is_numeric(kind):
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _examples(column):
    values = list(dict.fromkeys(str(value) for value in column[:200].to_pylist() if value is not None))
    if not values:
        return "no values"
    return ", ".join(values[:3]) + (", ..." if len(values) > 3 else "")


def _listed(names):
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
