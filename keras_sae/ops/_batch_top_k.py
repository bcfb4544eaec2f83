"""The largest of very many entries, and all entries above a bound."""

import keras
from keras import ops

# A sample of one entry in `_STRIDE` gives the bound. A stride that shares a divisor with the width of the code would see some
# units only; an odd one seldom does.
_STRIDE = 17
_BLOCK = 32


def largest_of_many(scores, count):
    """Finds the `count` largest entries of a long vector, exactly that many, the first of equal ones.

    A top-k is slow when many entries enter its list and are replaced later. So a lower bound of the winners is guessed from a
    sample, and only entries above it compete. Where the guess was too high, the search starts again without it.

    Args:
        scores: Float tensor of shape `(entries,)` without NaN.
        count: Integer, or a scalar integer tensor; at least 0 and at most `entries`.

    Returns:
        Indices, int32 of shape `(count,)`, and the smallest score among them.
    """
    sample = scores[::_STRIDE]
    # A quarter more than the expected share of the sample, and 8 more, so that the guess is seldom too high.
    guess = _smaller(count * 5 // (4 * _STRIDE) + 8, ops.shape(sample)[0])
    bound = ops.min(ops.top_k(sample, guess, sorted=False)[0], initial=float("inf"))
    if keras.backend.backend() == "tensorflow":
        places = at_least(scores, bound)
        found = ops.take(scores, places)

        def among_found():
            indices, smallest = _largest(found, count)
            return ops.take(places, indices), smallest

        return ops.cond(ops.shape(found)[0] >= count, among_found, lambda: _largest(scores, count))
    lowest = ops.cast(float("-inf"), scores.dtype)
    indices, smallest = _largest(ops.where(scores < bound, lowest, scores), count)
    return ops.cond(smallest > lowest, lambda: (indices, smallest), lambda: _largest(scores, count))


def at_least(scores, bound):
    """The indices of all entries of a vector of at least `bound`, int32, in order. TensorFlow only.

    Looks at the maxima of blocks of 32 entries first.
    """
    import tensorflow as tf

    blocks, rest = _in_blocks(scores)
    chosen = tf.where(tf.reduce_max(blocks, axis=-1) >= bound)[:, 0]
    places = tf.where(tf.gather(blocks, chosen) >= bound)
    found = tf.gather(chosen, places[:, 0]) * _BLOCK + places[:, 1]
    rest = tf.where(rest >= bound)[:, 0] + tf.size(blocks, tf.int64)
    return tf.cast(tf.concat([found, rest], axis=0), "int32")


def block_maxima(scores):
    """Maxima of blocks of 32 entries of a vector, NaN where there is one, and the entries that are left. TensorFlow only."""
    import tensorflow as tf

    blocks, rest = _in_blocks(scores)
    return tf.concat([tf.reduce_max(blocks, axis=-1), rest], axis=0)


def _in_blocks(scores):
    import tensorflow as tf

    whole = tf.shape(scores)[0] // _BLOCK * _BLOCK
    return tf.reshape(scores[:whole], (-1, _BLOCK)), scores[whole:]


def _largest(scores, count):
    values, indices = ops.top_k(scores, count, sorted=False)
    return ops.cast(indices, "int32"), ops.min(values, initial=float("inf"))


def _smaller(one, other):
    # Python integers stay Python integers: a compiler needs one for the width of a top-k.
    return min(one, other) if isinstance(one, int) and isinstance(other, int) else ops.minimum(one, other)
