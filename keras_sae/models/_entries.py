"""The entries that stay in the codes of a batch, as one of several graphs found them."""

from typing import NamedTuple


class Entries(NamedTuple):
    """The entries of the codes of a batch, and what they were selected from.

    Attributes:
        hidden, kernel, bias: What the layer of the code reads, and its weights, in the type that it computes in.
        product: All units, without gradient.
        values, rows, indices: The entries that stay, of shape `(n,)`, in the order of the rows.
    """

    hidden: object
    kernel: object
    bias: object
    product: object
    values: object
    rows: object
    indices: object

    @property
    def layer(self):
        return self[:4]


def flat_entries(values, indices, rows=None):
    """A dictionary of the last three attributes, of values and indices of shape `(n,)` with `rows`, else `(batch, k)`."""
    import tensorflow as tf

    if rows is None:
        batch, k = tf.unstack(tf.shape(indices))
        rows = tf.range(batch * k) // tf.maximum(k, 1)
        values, indices = tf.reshape(values, [-1]), tf.reshape(indices, [-1])
    # All of them, but in a way that hides their number: TensorFlow may take that of one graph for that of another.
    every = tf.where(indices >= 0)[:, 0]
    return {"values": tf.gather(values, every), "rows": tf.gather(rows, every), "indices": tf.gather(indices, every)}


def entries_of_dense(code):
    """The same dictionary for a dense code: what is not 0."""
    import tensorflow as tf

    places = tf.where(code != 0)
    rows, indices = tf.unstack(tf.cast(places, tf.int32), axis=1)
    return {"values": tf.gather_nd(code, places), "rows": rows, "indices": indices}
