import itertools

import keras
import numpy as np

from keras_sae._pixels import scale_of
from keras_sae.datasets._on_disk import OnDisk


def batches(images, batch_size, seed, labels=None, epoch=0, step=0):
    """Endless training batches, epoch after epoch, each epoch shuffled by `(seed, epoch)`.

    The order of an epoch is `numpy.random.default_rng([seed, epoch]).permutation(n)`. It depends neither on earlier epochs nor
    on the backend, so a resumed run sees the same batches. Images that stay on disk are shuffled within a window, in an order
    that also depends on `seed` and `epoch` alone.

    Args:
        images: Array of shape `(n, ...)`, or `OnDisk`. uint8 is divided by 255; other integers are refused.
        batch_size: Integer. The last batch of an epoch may be smaller.
        seed: Integer.
        labels: Array of shape `(n,)`, or `OnDisk`; None for batches of images alone.
        epoch, step: Integers, where to start.

    Returns:
        `(images,)` or `(images, labels)` in Keras' floatx, from a `tf.data.Dataset`; on other backends, from a generator of
        NumPy arrays.
    """
    dtype, scale = keras.config.floatx(), scale_of(images.dtype)

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
            seed_of_epoch = tf.ensure_shape(tf.numpy_function(seed_of, [epoch], tf.int64), [])
            return _shuffled(images.dataset, images.window, seed_of_epoch).batch(batch_size)

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
    """`dataset.shuffle` with a tensor as the seed, which alone fixes the order, whatever TensorFlow's global seed."""
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
