import contextlib
import json
import os
import re
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows has no such locks, so two processes must not fill one folder there
    fcntl = None

_RECORD = "activations.json"
_HEADER = 256  # bytes before the first entry of a .npy file: the shape is written there when it is known


class GrowingArrays:
    """Arrays on disk, `<name>.npy` in a folder, to which rows are appended, and a record of how far they are.

    A file that grows ends in `.part`. What follows its last record is cut off when the folder is opened again. One process at a
    time fills a folder, and others wait until it is complete or the process has ended.

    Args:
        folder: The folder. It is made if there is none.
        names: Names of the arrays.
        settings: Dictionary of plain data that says what the arrays hold. A folder with other settings is refused.
        say: Function called with a sentence before it waits for another process.

    Attributes:
        done: Integer, the inputs whose results are in the files.
        complete: Whether that is all of them.
    """

    def __init__(self, folder, names, settings, say=lambda sentence: None):
        self.folder = Path(folder)
        self.settings = settings
        self.paths = {name: self.folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.npy" for name in names}
        self.shapes, self.done, self.complete, self.digest = {}, 0, False, None
        self._open_files, self._lock = {}, None
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._recorded().get("complete"):  # a complete one does not change any more
            self._claim(say)
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close_files()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_files(self):
        for file in self._open_files.values():
            file.close()

    def _claim(self, say):
        """Waits until no other process fills the folder, where the file system has locks. They end with their process."""
        if fcntl is None:
            return
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Another process fills the cache {str(self.folder)!r}. Waiting for it ...")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass

    def _recorded(self):
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        return {}

    def _open(self):
        if record := self._recorded():
            self._read(record)
            return
        for path in self.paths.values():
            if path.exists() or _part(path).exists():
                self.refuse("has files that `activations` did not write")
        self.record(0, None)

    def _read(self, record):
        for key, value in self.settings.items():
            if record["settings"].get(key) != value:
                self.refuse(f"was made with another `{key}`: {record['settings'].get(key)!r}, now {value!r}")
        self.shapes = {name: list(shape) for name, shape in record["shapes"].items()}
        self.done, self.complete, self.digest = record["done"], record["complete"], record["data_sha256"]
        for name, path in self.paths.items():
            if name not in self.shapes:
                _part(path).unlink(missing_ok=True)  # begun, and not recorded yet
                continue
            whole = path.exists()
            path = path if whole else _part(path)
            if not path.exists() or path.stat().st_size < self._bytes(name):
                self.refuse(f"lacks a part of {path.name!r}")
            if not whole:
                os.truncate(path, self._bytes(name))

    def check(self, digest):
        """Raises a ValueError if the inputs so far are not those of the record."""
        if digest != self.digest:
            self.refuse("was made of other inputs, or of the same in another order")

    def first(self, name, inputs):
        """The rows of the first inputs, or None where a row is not an input."""
        rows, *others = self.shapes[name]
        if rows != self.done:
            return None
        path = self.paths[name] if self.paths[name].exists() else _part(self.paths[name])
        count = inputs * int(np.prod(others))
        return np.fromfile(path, self.settings["dtype"], count, offset=_HEADER).reshape(inputs, *others)

    def refuse(self, why):
        raise ValueError(f"The cache {str(self.folder)!r} {why}. Choose another folder, or delete this one.")

    def append(self, name, rows):
        """Writes more rows of an array."""
        rows = np.ascontiguousarray(rows.astype(self.settings["dtype"]))
        shape = self.shapes.setdefault(name, [0, *rows.shape[1:]])
        if list(rows.shape[1:]) != shape[1:]:
            raise ValueError(
                f"The outputs of {name!r} differ in shape: {tuple(shape[1:])}, then {rows.shape[1:]}. Pad the inputs to one "
                'size, or choose positions="flatten" or "mean".'
            )
        if name not in self._open_files:
            self._open_files[name] = _part(self.paths[name]).open("ab")
            if self._open_files[name].tell() == 0:
                self._open_files[name].write(bytes(_HEADER))
        self._open_files[name].write(rows)
        shape[0] += len(rows)

    def record(self, done, digest, complete=False):
        """Notes how far the files are, once they are on disk."""
        for file in self._open_files.values():
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        self.done, self.digest, self.complete = done, digest, complete
        content = {
            "settings": self.settings,
            "shapes": self.shapes,
            "done": done,
            "data_sha256": digest,
            "complete": complete,
        }
        unfinished = self.folder / f".{_RECORD}.{os.getpid()}"
        unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(unfinished, self.folder / _RECORD)

    def finish(self, done, digest):
        """Completes the files, and returns a dictionary of memory-mapped arrays."""
        if not self.complete:
            self.record(done, digest)
            self._close_files()
            for name, path in self.paths.items():
                if not path.exists():
                    with _part(path).open("r+b") as file:
                        file.write(_header(self.shapes[name], self.settings["dtype"]))
                    os.replace(_part(path), path)
            self.record(done, digest, complete=True)
        return {name: np.load(path, mmap_mode="r") for name, path in self.paths.items()}

    def _bytes(self, name):
        return _HEADER + int(np.prod(self.shapes[name])) * np.dtype(self.settings["dtype"]).itemsize


def _part(path):
    return path.with_name(path.name + ".part")


def _header(shape, dtype):
    """The first bytes of a .npy file, version 1.0 of NumPy's format."""
    text = repr({"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)})
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11).encode() + b"\n"
