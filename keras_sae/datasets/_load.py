import itertools

import keras
import numpy as np

from keras_sae.datasets._arrays import has_tensorflow, read_arrays
from keras_sae.datasets._on_disk import OnDisk
from keras_sae.datasets._sources import find_source

# Data sets above this many bytes of pixels are neither cached nor shuffled whole: they would not fit into memory.
_MEMORY = 2 * 1024**3


def load(name, split, data_dir=None, batch_size=None, shuffle=None, seed=None):
    """Loads an image data set as a `tf.data.Dataset` of `(image, label)`.

    The order of the pipeline is: decode, cache as uint8, shuffle, batch, scale, prefetch. Up to 2 GiB of pixels are
    cached and shuffled whole; larger data sets are read from disk, and shuffled within a window of 2 GiB.

    Args:
        name: The TFDS name of an image data set, such as `"mnist"`; or that of a file of arrays, `<data_dir>/<name>.npz`,
            with the keys `train_image`, perhaps `train_label`, and so on for other splits, as `save_arrays` writes them;
            or `"fashion_mnist_sample"`: 2,000 training and 1,000 test images that this package ships; or `"patches"` or
            `"color_patches"`: 20,000 training and 5,000 test patches of natural photographs, whitened, of mean 0 rather
            than in [0, 1]; see `keras_sae.datasets._patches`.
        split: A split as TFDS writes it: `"train"`, `"test"`, `"train[:10%]"`, `"train[:1000]+test"`.
        data_dir: Folder of the TFDS data. Defaults to the environment variable `TFDS_DATA_DIR`, then to TFDS' own default.
        batch_size: Integer, or None for single examples.
        shuffle: Whether to shuffle, anew in each epoch. By default where `split` begins with `"train"`.
        seed: Integer that fixes the order of shuffling.

    Returns:
        `tf.data.Dataset` of `(image, label)`: float32 of shape `(height, width, channels)` in [0, 1], and int64; with a
        batch axis in front where `batch_size` is given. Data sets without labels give images alone.

    Raises:
        ValueError: The data set or split is unknown, or is no image data set.
        FileNotFoundError: The data is not here and cannot be fetched. The message has the command to run.

    Example:

    >>> for images, labels in load("fashion_mnist_sample", "test[:32]", batch_size=32):
    ...     print(images.shape, images.dtype.name, labels.dtype.name)
    (32, 28, 28, 1) float32 int64
    """
    import tensorflow as tf

    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, or None for single examples. Received: {batch_size}.")
    if shuffle is None:
        shuffle = str(split).startswith("train")
    dataset, image, count = _read(name, split, data_dir)
    if batch_size is not None:
        _same_size(name, image)
    window = _window(image, count)
    if window == count:
        dataset = dataset.cache()
    if shuffle:
        dataset = dataset.shuffle(window, seed=seed, reshuffle_each_iteration=True)
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    scale = _scale(image.dtype.as_numpy_dtype)

    def to_unit_range(pixels, *label):
        pixels = tf.cast(pixels, tf.float32) / scale
        return (pixels, *label) if label else pixels

    return dataset.map(to_unit_range, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def load_arrays(name, split, data_dir=None):
    """Loads a split of an image data set into memory.

    Without TensorFlow it reads files of arrays alone, as `save_arrays` writes them where there is TensorFlow.

    Args:
        name, split, data_dir: As in `load`.

    Returns:
        `(images, labels)`: uint8 of shape `(n, height, width, channels)` as stored, and int64 of shape `(n,)`. Divide by
        255 before a model sees them. Patches are float32, ready for a model.

    Example:

    >>> images, labels = load_arrays("fashion_mnist_sample", "test")
    >>> images.shape, images.dtype.name, labels.shape
    ((1000, 28, 28, 1), 'uint8', (1000,))
    """
    if has_tensorflow():
        return _gathered(name, split, _read(name, split, data_dir))
    images, labels = read_arrays(name, split, data_dir)
    if len(images) == 0:
        raise ValueError(f"The split {split!r} of {name!r} is empty.")
    return images, labels


def load_training(name, split, data_dir=None):
    """Loads a split to train on: as `load_arrays`, but where it has more than 2 GiB of pixels, it stays on disk.

    Args:
        name, split, data_dir: As in `load`.

    Returns:
        `(images, labels)`, for `batches`: arrays, or where they stay on disk `keras_sae.datasets.OnDisk`, which has a
        `shape`, a `dtype` and a length as an array has, and gives the first `n` by `[:n]`.
    """
    if not has_tensorflow():
        return load_arrays(name, split, data_dir)
    stored = dataset, image, count = _read(name, split, data_dir)
    window = _window(image, count)
    if window == count or count < 1:
        return _gathered(name, split, stored)
    _same_size(name, image)
    if not isinstance(dataset.element_spec, tuple):
        return OnDisk(dataset.map(lambda image: (image,)), 0, count, window), None
    return tuple(OnDisk(dataset, position, count, window) for position in (0, 1))


def batches(images, batch_size, seed, labels=None, epoch=0, step=0):
    """Endless training batches, epoch after epoch, each shuffled by `(seed, epoch)`.

    The order of an epoch is `numpy.random.default_rng([seed, epoch]).permutation(n)`: it depends on nothing that came before
    it, nor on the backend, so a resumed run sees what it would have seen. Images that stay on disk are shuffled within a
    window, in an order that depends on seed and epoch alone as well.

    Args:
        images: Array of shape `(n, ...)`, or `OnDisk`. Integers are divided by their largest value (uint8 by 255).
        batch_size: Integer. The last batch of an epoch may be smaller.
        seed: Integer.
        labels: Array of shape `(n,)`, or `OnDisk`; or None for batches of images alone.
        epoch, step: Where to begin.

    Returns:
        `(images,)` or `(images, labels)` in Keras' floatx: a `tf.data.Dataset`, or on other backends, of arrays, a generator
        of arrays.
    """
    dtype, scale = keras.config.floatx(), _scale(images.dtype)

    def order(epoch):
        return np.random.default_rng([seed, int(epoch)]).permutation(len(images))

    if not isinstance(images, OnDisk) and keras.backend.backend() != "tensorflow":
        return _generated(images, labels, batch_size, order, epoch, step, lambda rows: rows.astype(dtype) / scale.astype(dtype))
    import tensorflow as tf

    columns = [each for each in (images, labels) if each is not None]
    if isinstance(images, OnDisk):

        def seed_of(epoch):
            return np.random.default_rng([seed, int(epoch)]).integers(1, 2**62)

        def one_epoch(epoch):
            own = tf.numpy_function(seed_of, [epoch], tf.int64)
            return _shuffled(images.dataset, images.window, tf.ensure_shape(own, [])).batch(batch_size)

        def chosen(*examples):
            return [examples[column.position] for column in columns]

    else:
        columns = [tf.constant(column) for column in columns]

        def one_epoch(epoch):
            rows = tf.numpy_function(order, [epoch], tf.int64)
            return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(rows, [len(images)])).batch(batch_size)

        def chosen(rows):
            return [tf.gather(column, rows) for column in columns]

    def scaled(*stored):
        pixels, *rest = chosen(*stored)
        return (tf.cast(pixels, dtype) / tf.cast(scale, dtype), *rest)

    stored = tf.data.Dataset.counter(epoch).flat_map(one_epoch).skip(step)
    return stored.map(scaled, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _shuffled(dataset, window, seed):
    """`dataset.shuffle`, but for a seed that is a tensor, and that alone fixes the order, whatever TensorFlow's global seed."""
    import tensorflow as tf

    spec = dataset.element_spec
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=window,
        seed=seed,
        seed2=0,
        output_types=[each.dtype for each in spec],
        output_shapes=[each.shape for each in spec],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, spec)


def _generated(images, labels, batch_size, order, epoch, step, to_unit_range):
    for number in itertools.count(epoch):
        rows = order(number)
        for start in range(step * batch_size, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            pixels = to_unit_range(images[chosen])
            yield (pixels,) if labels is None else (pixels, labels[chosen])
        step = 0


def _scale(dtype):
    """What images of a dtype are divided by."""
    return np.float32(np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)


def _read(name, split, data_dir):
    """The stored examples of a split: a dataset of (image, label), the spec of an image, their number."""
    splits, examples_of = find_source(name, data_dir)
    try:
        dataset = examples_of(split)
    except (ValueError, KeyError, AssertionError) as error:
        raise ValueError(
            f"{name!r} has no split {split!r}. Its splits are {splits}, and parts are written as in "
            f"'train[:10%]' or 'train[:1000]'."
        ) from error
    image = dataset.element_spec["image"]
    wanted = ("image", "label") if "label" in dataset.element_spec else ("image",)
    dataset = dataset.map(lambda example: tuple(example[key] for key in wanted) if len(wanted) > 1 else example["image"])
    return dataset, image, int(dataset.cardinality())


def _gathered(name, split, stored):
    """The arrays of all that `_read` gave."""
    dataset, image, _ = stored
    _same_size(name, image)
    batches = list(dataset.batch(4096).as_numpy_iterator())
    if not batches:
        raise ValueError(f"The split {split!r} of {name!r} is empty.")
    if not isinstance(batches[0], tuple):
        return np.concatenate(batches), None
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _window(image, count):
    """How many images of this spec are held in memory at a time."""
    bytes_each = int(np.prod([size or 1024 for size in tuple(image.shape)])) * image.dtype.size
    return max(1, min(count, _MEMORY // bytes_each))


def _same_size(name, image):
    if None in tuple(image.shape):
        raise ValueError(
            f"The images of {name!r} vary in size (shape {image.shape}), so they cannot be batched. Load them by "
            "`keras_sae.datasets.load` with batch_size=None, then map a resize and batch."
        )
