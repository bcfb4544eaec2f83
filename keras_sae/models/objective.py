from keras import ops

from keras_sae.regularizers.activity_penalty import in_statistics_dtype, position_count, totals_of, value_or_zero
from keras_sae.replicas import sum_over_replicas


def penalty_values(penalties, code):
    """What each penalty charges for the code of the whole batch, on every replica the same.

    The sums that the penalties are functions of travel together, in one all-reduce; each penalty is then a function of
    the global sums, as it would be on one device.

    Args:
        penalties: List of regularizers, not empty.
        code: Float tensor of shape `(batch, ..., units)`, this replica's share of the batch.

    Returns:
        List of scalars, in the order of `penalties`.
    """
    code = in_statistics_dtype(code)
    totals = [ops.cast(totals_of(penalty, code), code.dtype) for penalty in penalties]
    shared = [position_count(code), *totals]
    shared = sum_over_replicas(ops.concatenate([ops.reshape(tensor, (-1,)) for tensor in shared]))
    values, start = [], 1
    for penalty, total in zip(penalties, totals, strict=True):
        size = 1
        for axis_size in total.shape:
            size *= axis_size
        global_total = ops.reshape(shared[start : start + size], total.shape)
        values.append(value_or_zero(penalty, global_total, shared[0]))
        start += size
    return values
