import csv
import io
import os

import keras

from keras_sae.training._run import write_text, writing


class HistoryLog(keras.callbacks.Callback):
    """Writes the logs of each epoch as a row of a CSV file. The columns have the names that `fit` logs.

    Args:
        path: The file. Rows of `epoch` and later epochs are removed, because a resumed run repeats them.
        epoch: Integer, the epoch to continue with.
    """

    def __init__(self, path, epoch):
        super().__init__()
        self.path = path
        self._names = ["epoch"]
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if (row["epoch"] or "").isdigit() and int(row["epoch"]) < epoch]
            self._names = list(dict.fromkeys(["epoch", *(name for row in rows for name in row if name)]))
            self._write(rows)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch, **{name: repr(float(value)) for name, value in logs.items()}}
        new = sorted(set(row) - set(self._names))
        if new or not self.path.exists():
            rows = []
            if self.path.exists():
                with self.path.open(newline="") as file:
                    rows = list(csv.DictReader(file))
            self._names += new
            self._write([*rows, row])
            return
        size = self.path.stat().st_size
        with writing(self.path):
            try:
                with self.path.open("a", newline="") as file:
                    csv.DictWriter(file, self._names, lineterminator="\n").writerow(row)
            except OSError:
                os.truncate(self.path, size)  # a part of a row would be read as another one
                raise

    def _write(self, rows):
        text = io.StringIO()
        writer = csv.DictWriter(text, self._names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())
