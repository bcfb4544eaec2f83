"""A user's own data as arrays: folders of images, tables, windows of series, and vectors."""

from keras_sae.datasets._folder import Folder
from keras_sae.datasets._load import gather
from keras_sae.datasets._series import Series
from keras_sae.datasets._table import Table
from keras_sae.datasets._vectors import Vectors


def load_folder(path, split="train", image_size=None, resize="stretch", color_mode=None):
    """Loads a folder of images as arrays.

    `train/`, `test/` and `validation/` in the folder are its splits, and other folders beside them are not read. A folder
    without them is one split, `"train"`. Within a split, images lie flat, or in one folder for each class.

    PNG, JPEG, BMP and GIF files are read (the first frame of an animation). Before anything else, every file is decoded once:
    all broken ones are named in one error. Rules for modes: palettes become their colours; an alpha channel that is opaque
    everywhere is dropped; transparent pixels and 16 bits per channel are refused. The rotation that a camera notes in EXIF is
    ignored, as Keras does.

    Args:
        path: The folder.
        split: `"train"`, `"test"`, or a share such as `"train[:80%]"` and `"train[80%:]"`. A share is drawn by the names of the
            files: it is the same on every machine and mixes the classes.
        image_size: `(height, width)` to bring images to. Needed where they differ in size.
        resize: How: `"stretch"`; `"crop"`, which cuts off what does not fit the shape; or `"pad"`, which adds black bars.
        color_mode: `"rgb"` or `"grayscale"`. By default grey where every file is stored in grey, colour otherwise.

    Returns:
        `(images, labels)`: uint8 of shape `(n, height, width, channels)`, sorted by the names of files, and int64 of shape
        `(n,)`, the index of each class among the sorted names; None where images lie flat. More than 2 GiB of pixels are in a
        memory-mapped file. To stream instead, use `load(path, split, batch_size=...)`.

    Raises:
        ValueError: The folder has no images, or files that cannot be read; all are named.

    Example:

    >>> import keras, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for index in range(5):
    ...     keras.utils.save_img(f"{folder}/{index}.png", np.zeros((4, 3, 3)), scale=False)
    >>> images, labels = load_folder(folder, "train[:80%]")
    >>> images.shape, images.dtype.name, labels
    ((4, 4, 3, 3), 'uint8', None)
    """
    return gather(Folder(path, image_size, resize, color_mode), split, str(path))


def load_table(path, split="train", columns=None, label=None):
    """Loads a table with a header as an array of its rows.

    Columns are numbers, which the model reads as they are: scale them inside the model, so that it can be served. Columns of
    texts are refused, and so are missing values, which are counted by column.

    Args:
        path: A `.csv` or `.parquet` file.
        split: `"train"` for all rows, or a share such as `"train[:80%]"`. A share is drawn at random, because many
            tables are sorted. It is the same on every machine.
        columns: List of the columns to read, in this order. By default all but `label`.
        label: The column that holds the class of a row, numbers or texts. None: there is none.

    Returns:
        `(rows, labels)`: float32 of shape `(n, columns)` in the order of the file, and int64 of shape `(n,)`, the index of each
        class among its sorted values; None without `label`.

    Example:

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pumps.csv"
    >>> file.write_text("pressure,flow\\n1.5,2\\n1.6,3\\n") > 0
    True
    >>> load_table(file)[0].tolist()
    [[1.5, 2.0], [1.600000023841858, 3.0]]
    """
    return gather(Table(path, columns, label), split, str(path))


def load_series(path, window, split="train", stride=1, columns=None):
    """Loads windows of a time series.

    A split is a share of the time steps, in order, and windows are cut within it. So no window crosses the border of a split,
    and test windows share no time step with training windows.

    Args:
        path: A `.csv` or `.parquet` file with a header and a row for each time step; or a `.npy` file of an array of shape
            `(steps,)` or `(steps, channels)`.
        window: Integer, the time steps of a window.
        split: `"train"` for all time steps, or a share such as `"train[:80%]"`.
        stride: Integer, the steps from the start of a window to the start of the next one.
        columns: List of the columns to read. By default all.

    Returns:
        float32 of shape `(n, window, channels)`.

    Example:

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "series.npy"
    >>> np.save(file, np.arange(10.0))
    >>> load_series(file, window=4, split="train[:60%]", stride=2)[..., 0].tolist()
    [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]]
    """
    return gather(Series(path, window, stride, columns), split, str(path))[0]


def load_vectors(path, split="train"):
    """Loads vectors, such as embeddings, from a NumPy file. The file is mapped into memory, and may be larger than memory.

    `fit` takes the result as it is. To stream batches instead, use `load(path, split, batch_size=...)`.

    Args:
        path: A `.npy` file of an array of shape `(n, size)`. Or a `.npz` file with an array for each split, and perhaps
            labels: `numpy.savez(path, train=..., test=..., test_label=...)`. A compressed `.npz` file is read as a whole.
        split: `"train"`, another split of a `.npz` file, or a share such as `"train[:80%]"`. A share is drawn at random,
            because many files are sorted. It is the same on every machine, stays in the order of the file, and is read into
            memory.

    Returns:
        `(vectors, labels)`: an array of shape `(n, size)` in the dtype of the file, and the labels as stored; None where the
        file has none.

    Raises:
        ValueError: The file is damaged, or holds something else.

    Example:

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "embeddings.npz"
    >>> np.savez(file, train=np.ones((8, 3), "float16"), test=np.zeros((2, 3), "float16"), test_label=[4, 5])
    >>> load_vectors(file)[0].shape, load_vectors(file, "test")[1].tolist()
    ((8, 3), [4, 5])
    """
    return Vectors(path).arrays(split)
