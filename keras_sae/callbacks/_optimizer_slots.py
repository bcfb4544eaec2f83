def slots_of(optimizer, variable):
    """The optimizer's variables that belong to a weight, such as its momenta.

    Keras has no public way from a weight to its slots. Their paths hold the path of the weight, and this is the only module
    that relies on it.
    """
    mark = f"/{variable.path.replace('/', '_')}_"
    return [slot for slot in optimizer.variables if mark in f"/{slot.path}" and slot.shape == variable.shape]


def is_average(slot, variable):
    """Whether a slot is the moving average of the weight itself, which optimizers with `use_ema` keep."""
    return slot.path.endswith(f"{variable.path.replace('/', '_')}_average")
