"""Which entries of rows are the largest, in graphs that XLA compiles."""


def are_largest(rows, count, usual=None):
    """Which entries of each row are among its `count` largest, the first of equal ones: booleans. TensorFlow only.

    Made for XLA, which sorts whole rows for a top-k of unknown size, and compiles no switch that gradients pass. This bisects
    the bits of the smallest winner, and then the index up to which entries equal to it stay.

    Args:
        rows: Float tensor of shape `(rows, competitors)` without NaN.
        count: Integer, or a scalar integer tensor; at least 0 and at most `competitors`.
        usual: Integer or None. Where `count` has this value, XLA's top-k of that width is taken.

    Returns:
        Boolean tensor of the shape of `rows`, and the smallest winner of each row, of shape `(rows, 1)`.
    """
    import tensorflow as tf

    rows = tf.where(rows == 0, tf.zeros_like(rows), tf.stop_gradient(rows))  # XLA's top-k tells zeros of both signs apart
    if rows.dtype in (tf.float16, tf.bfloat16):
        wins, smallest = are_largest(tf.cast(rows, tf.float32), count, usual)
        return wins, tf.cast(smallest, rows.dtype)
    if usual is None or rows.dtype == tf.float64:  # XLA has a top-k of float32 only
        smallest, last = _bisected(rows, count)
    elif isinstance(count, int) and count == usual:
        smallest, last = _of_top_k(rows, usual)
    else:
        smallest, last = tf.cond(tf.equal(count, usual), lambda: _of_top_k(rows, usual), lambda: _bisected(rows, count))
    return (rows > smallest) | ((rows == smallest) & (_places(rows) <= last)), smallest


def _of_top_k(rows, k):
    """The smallest winner of each row, and the index up to which entries equal to it win."""
    import tensorflow as tf

    values, indices = tf.math.top_k(rows, k)
    smallest = tf.reduce_min(values, axis=-1, keepdims=True)  # the last of `values`, but a slice would make XLA sort
    return smallest, tf.reduce_max(tf.where(values == smallest, indices, -1), axis=-1, keepdims=True)


def _bisected(rows, count):
    """The same as `_of_top_k`."""
    import tensorflow as tf

    integers = tf.int64 if rows.dtype == tf.float64 else tf.int32
    keys = _flip_negative(tf.bitcast(rows, integers))  # integers in the order of the floats
    zero = tf.zeros((tf.shape(rows)[0], 1), integers)
    key = tf.where(_number_of(keys >= zero) >= count, zero, integers.min)
    key = _highest(key, integers.size * 8 - 1, lambda tried: _number_of(keys >= tried) >= count)
    smallest = tf.bitcast(_flip_negative(key), rows.dtype)
    equal, left = rows == smallest, count - _number_of(rows > smallest)

    def first():  # the highest index before which too few entries are equal
        bits = (rows.shape[-1] or 2**31 - 1).bit_length()
        return _highest(tf.zeros_like(left), bits, lambda tried: _number_of(equal & (_places(rows) < tried)) < left)

    ties = tf.reduce_any(_number_of(equal) > left)
    return smallest, tf.cond(ties, first, lambda: tf.fill(tf.shape(left), tf.int32.max))


def _highest(start, bits, holds):
    """The highest of the integers `start` to `start + 2**bits - 1` for which `holds`, by bisection."""
    import tensorflow as tf

    def step(bit, value):
        tried = value + tf.bitwise.left_shift(tf.ones((), value.dtype), tf.cast(bit, value.dtype))
        return bit - 1, tf.where(holds(tried), tried, value)

    return tf.while_loop(lambda bit, _: bit >= 0, step, (tf.constant(bits - 1), start))[1]


def _number_of(mask):
    import tensorflow as tf

    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=-1, keepdims=True)


def _flip_negative(integers):
    """Maps the bits of floats to integers in their order, and back."""
    import tensorflow as tf

    sign = tf.bitwise.right_shift(integers, tf.constant(integers.dtype.size * 8 - 1, integers.dtype))
    return tf.bitwise.bitwise_xor(integers, tf.bitwise.bitwise_and(sign, tf.constant(integers.dtype.max, integers.dtype)))


def _places(rows):
    import tensorflow as tf

    return tf.range(tf.shape(rows)[-1])[None]
