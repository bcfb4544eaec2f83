"""Splits as TensorFlow Datasets writes them. The only module that reads what TFDS makes of a split, whose class is private."""


def parts(split, counts):
    """The examples that a split stands for.

    Args:
        split: `"train"`, `"test[:10%]"`, `"train[:1000]+test"`.
        counts: Dictionary from the name of each split to its number of examples.

    Returns:
        List of pairs: the name of a split, and a slice of its examples.

    Raises:
        ValueError, KeyError, AssertionError: `split` is malformed, or names an unknown split. TFDS raises all three.
    """
    import tensorflow_datasets as tfds

    splits = {name: tfds.core.SplitInfo(name=name, shard_lengths=[count], num_bytes=0) for name, count in counts.items()}
    instructions = tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
    return [(each.splitname, slice(each.from_, each.to)) for each in instructions]


def unknown_split(name, split, known):
    """The error for a split that a data set does not have."""
    return ValueError(
        f"{name!r} has no split {split!r}. Its splits are {list(known)}. Write a part of a split as 'train[:10%]' or "
        "'train[:1000]'."
    )
