"""Entries of codes in one list, for codes of different numbers of entries. TensorFlow only."""

from keras_sae.ops._sparse_dense import in_one_list


def flat_entries(values, indices, rows=None):
    """Entries as a dictionary of "values", "rows" and "indices", each of shape `(n,)`.

    Args:
        values, indices: Tensors of shape `(batch, k)`, or `(n,)` with the row of each.
    """
    if rows is None:
        values, rows, indices = in_one_list(values, indices)
    # All of them, but in a way that hides their number: TensorFlow may take that of one graph for that of another.
    return entries_where(indices >= 0, {"values": values, "rows": rows, "indices": indices})


def entries_where(mask, entries):
    """Those of the entries where `mask`, booleans of shape `(n,)`, is true."""
    import tensorflow as tf

    places = tf.where(mask)[:, 0]
    return {name: tf.gather(part, places) for name, part in entries.items()}


def entries_of_dense(code):
    """The entries of a dense code that are not 0, as such a dictionary."""
    import tensorflow as tf

    places = tf.where(code != 0)
    rows, indices = tf.unstack(tf.cast(places, tf.int32), axis=1)
    return {"values": tf.gather_nd(code, places), "rows": rows, "indices": indices}
