import functools
import tempfile

import numpy as np

from keras_sae._checks import check_integer
from keras_sae._pixels import scale_of
from keras_sae.datasets._arrays import has_tensorflow, read_arrays
from keras_sae.datasets._on_disk import OnDisk
from keras_sae.datasets._own_data import check_no_options, open_path, path_of
from keras_sae.datasets._sources import damage_named, find_source

# Data sets with more bytes of pixels than this are neither cached nor shuffled as a whole.
_MEMORY = 2 * 1024**3


def load(name, split, data_dir=None, batch_size=None, shuffle=None, seed=None, **options):
    """Loads an image data set as a `tf.data.Dataset` of `(image, label)`.

    The pipeline decodes, caches as uint8, shuffles, batches, scales and prefetches. Up to 2 GiB of pixels are cached and
    shuffled as a whole. Larger data sets are read from disk and shuffled within a window of 2 GiB.

    Args:
        name: One of:

            - the name of an image data set of TFDS, such as `"mnist"`;
            - the name of a file of arrays, `<data_dir>/<name>.npz`, with the keys `train_image`, optionally `train_label`,
              and the same for other splits. `save_arrays` writes such files;
            - `"fashion_mnist_sample"`: 2,000 training and 1,000 test images that this package ships;
            - `"wordnet_glosses_sample"`: 1,600 training and 800 test embeddings of definitions that this package ships, float16
              of 384 entries; see `load_texts`;
            - `"patches"` or `"color_patches"`: 20,000 training and 5,000 test patches of natural photographs, whitened, with
              mean 0 rather than in [0, 1]; or `"photographs"`, as many of 32 x 32 pixels in [0, 1]. See
              `keras_sae.datasets.patches`;
            - the path of a folder of images, of a table (`.csv`, `.parquet`), of vectors (`.npy`, `.npz`), or of a series (a
              table or a `.npy` file with `window`). See `load_folder`, `load_table`, `load_vectors` and `load_series`.
        split: A split in the syntax of TFDS: `"train"`, `"test"`, `"train[:10%]"`, `"train[:1000]+test"`.
        data_dir: Folder of the data. Defaults to the environment variable `TFDS_DATA_DIR`, then to the default of TFDS.
        batch_size: Integer, or None for single examples.
        shuffle: Whether to shuffle, in a new order each epoch. Defaults to True where `split` starts with `"train"`.
        seed: Integer that fixes the order of shuffling.
        **options: How to read a folder, table or series: the arguments of `load_folder`, `load_table` and `load_series`.

    Returns:
        `tf.data.Dataset` of `(image, label)`: float32 of shape `(height, width, channels)` in [0, 1], and int64; with a
        batch axis first if you give a `batch_size`. Data sets without labels give images alone.

    Raises:
        ValueError: The data set or split is unknown, or has no images.
        FileNotFoundError: The data is not on this machine and cannot be downloaded. The message has the command to run.

    Example:

    >>> for images, labels in load("fashion_mnist_sample", "test[:32]", batch_size=32):
    ...     print(images.shape, images.dtype.name, labels.dtype.name)
    (32, 28, 28, 1) float32 int64
    """
    import tensorflow as tf

    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, "counts the examples of a batch (None: no batches)")
    if shuffle is None:
        shuffle = str(split).startswith("train")
    dataset, image, count = _read(name, split, data_dir, options)
    if batch_size is not None:
        _check_same_size(name, image)
    window = _window(image, count)
    if window == count:
        dataset = dataset.cache()
    if shuffle:
        dataset = dataset.shuffle(window, seed=seed, reshuffle_each_iteration=True)
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    scale = scale_of(image.dtype)

    def to_unit_range(pixels, *label):
        pixels = tf.cast(pixels, tf.float32) / scale
        return (pixels, *label) if label else pixels

    return dataset.map(to_unit_range, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def load_arrays(name, split, data_dir=None, **options):
    """Loads a split of an image data set into memory.

    Without TensorFlow, it reads files of arrays only: the shipped sample, and files that `save_arrays` wrote elsewhere.

    Args:
        name, split, data_dir, **options: As in `load`.

    Returns:
        `(images, labels)`: uint8 of shape `(n, height, width, channels)` as stored, and int64 of shape `(n,)`. Divide images
        by 255 before you give them to a model. Patches are float32 and need no scaling.

    Example:

    >>> images, labels = load_arrays("fashion_mnist_sample", "test")
    >>> images.shape, images.dtype.name, labels.shape
    ((1000, 28, 28, 1), 'uint8', (1000,))
    """
    if has_tensorflow():
        return _gathered(name, split, _read(name, split, data_dir, options), data_dir)
    path = path_of(name, data_dir)
    if path is not None:
        return open_path(path, **options).arrays(split)
    check_no_options(name, options)
    images, labels = read_arrays(name, split, data_dir)
    if len(images) == 0:
        raise _empty(name, split)
    scale_of(images.dtype, f"images of {name!r}")
    return images, labels


def load_training(name, split, data_dir=None, **options):
    """Loads a split to train on: as `load_arrays`, but more than 2 GiB of pixels stay on disk.

    Args:
        name, split, data_dir, **options: As in `load`.

    Returns:
        `(images, labels)` for `batches`: arrays, or `keras_sae.datasets.OnDisk` where they stay on disk. That has the `shape`,
        `dtype` and length of an array, and `[:n]` reads the first `n` examples.
    """
    if not has_tensorflow():
        return load_arrays(name, split, data_dir, **options)
    stored = dataset, image, count = _read(name, split, data_dir, options)
    window = _window(image, count)
    if window == count or count < 1:
        return _gathered(name, split, stored, data_dir)
    _check_same_size(name, image)
    reading = functools.partial(damage_named, name, data_dir)
    if not isinstance(dataset.element_spec, tuple):
        return OnDisk(dataset.map(lambda image: (image,)), 0, count, window, reading), None
    return tuple(OnDisk(dataset, position, count, window, reading) for position in (0, 1))


def _read(name, split, data_dir, options):
    """The stored examples of a split: a dataset of (image, label), the spec of an image, their number."""
    _, stored = find_source(name, data_dir, options)
    return _as_pairs(name, stored(split))


def _as_pairs(name, dataset):
    """What `_read` returns, of a dataset of dictionaries."""
    image = dataset.element_spec["image"]
    scale_of(image.dtype, f"images of {name!r}")
    keys = ("image", "label") if "label" in dataset.element_spec else ("image",)
    dataset = dataset.map(lambda example: tuple(example[key] for key in keys) if len(keys) > 1 else example["image"])
    return dataset, image, int(dataset.cardinality())


def _gathered(name, split, stored, data_dir):
    """The arrays of a split, from what `_read` returned."""
    dataset, image, count = stored
    _check_same_size(name, image)
    if _window(image, count) < count:
        return _on_disk_arrays(name, stored, data_dir)
    with damage_named(name, data_dir):
        batches = list(dataset.batch(4096).as_numpy_iterator())
    if not batches:
        raise _empty(name, split)
    if not isinstance(batches[0], tuple):
        return np.concatenate(batches), None
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _on_disk_arrays(name, stored, data_dir):
    """The arrays of a split that does not fit into memory: images in a memory-mapped file, which ends with the process."""
    dataset, image, count = stored
    shape = (count, *image.shape)
    with tempfile.TemporaryFile() as file:  # the mapping stays when it is closed
        images = np.memmap(file, image.dtype.as_numpy_dtype, "w+", shape=shape)
    labels = []
    filled = 0
    with damage_named(name, data_dir):
        for batch in dataset.batch(_batch_within_memory(image)).as_numpy_iterator():
            part, *label = batch if isinstance(batch, tuple) else (batch,)
            images[filled : filled + len(part)] = part
            filled += len(part)
            labels += label
    return images, np.concatenate(labels) if labels else None


def _batch_within_memory(image):
    return max(1, min(4096, _window(image, 2**62) // 16))


def gather(opened, split, name):
    """The arrays of a split of an opened folder, table or series: `(images, labels)`."""
    if not has_tensorflow():
        return opened.arrays(split)
    return _gathered(name, split, _as_pairs(name, opened.dataset(split)), None)


def _window(image, count):
    """The number of images of this spec that are held in memory at a time."""
    bytes_each = int(np.prod([size or 1024 for size in tuple(image.shape)])) * image.dtype.size
    return max(1, min(count, _MEMORY // bytes_each))


def _check_same_size(name, image):
    if None in tuple(image.shape):
        raise ValueError(
            f"The images of {name!r} differ in size (shape {image.shape}), so they do not fit into one batch. Load them with "
            "`keras_sae.datasets.load` and batch_size=None, map a resize, then batch."
        )


def _empty(name, split):
    return ValueError(f"The split {split!r} of {name!r} is empty.")
