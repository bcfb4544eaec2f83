"""Splits as TensorFlow Datasets writes them. The only module that reads what TFDS makes of a split, whose class is private."""

import re


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


def examples_of(name, split, counts):
    """The same for the data set `name`. Raises a ValueError that says what is wrong with the split."""
    try:
        chosen = parts(split, counts)
    except (ValueError, KeyError, AssertionError) as error:
        written = [re.fullmatch(r"\s*([\w-]+)\s*(\[[\d%:_ -]*\])?\s*", part) for part in str(split).split("+")]
        if all(written) and all(match[1] in counts for match in written):
            sizes = ", ".join(f"{part} has {count:,} examples" for part, count in counts.items())
            raise ValueError(
                f"The split {split!r} of {name!r} cannot be read: {next(iter(str(error).splitlines()), '')[:200]} In {name!r}, "
                f"{sizes}."
            ) from error
        raise ValueError(
            f"{name!r} has no split {split!r}. Its splits are {list(counts)}. Write a part of a split as 'train[:10%]' or "
            "'train[:1000]'."
        ) from error
    for part, rows in chosen:
        start, stop = rows.start or 0, counts[part] if rows.stop is None else rows.stop
        if start > stop:
            raise ValueError(
                f"The split {split!r} of {name!r} starts after its end: at example {start:,} of {part!r}, with the end at "
                f"{stop:,}. Swap the two."
            )
    return chosen
