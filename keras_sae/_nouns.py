"""What a sample is called: image, row, window or sample. For cards and messages."""


def noun_of(shape, data=None):
    """The word for one sample, singular.

    Args:
        shape: The shape of one input.
        data: The section [data] of a recipe, or None.
    """
    data = data or {}
    if "window" in data:
        return "window"
    if str(data.get("name", "")).lower().endswith((".csv", ".parquet")):
        return "row"
    if str(data.get("name", "")).lower().endswith((".npy", ".npz")) and len(shape) == 1:
        return "vector"
    return "image" if len(shape) == 3 else "sample"
