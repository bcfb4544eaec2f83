"""Runs of `keras-sae train` as arguments of other commands."""

from pathlib import Path

PRESET, DETECTOR, RUN = "preset", "detector", "run.json"


def part_of_run(path, part):
    """The folder of a run that holds its preset or its detector; the path itself where it is no run."""
    folder = Path(path).expanduser()
    if not (folder / RUN).is_file():
        return path
    if not (folder / part).is_dir():
        command = f"train ... --output {path} --resume" if part == PRESET else f"calibrate {path}"
        raise ValueError(f"The run in {str(path)!r} has no {part} yet. Make it: keras-sae {command}")
    return str(folder / part)


def refuse_existing(path):
    """Raises FileExistsError where something is at a path that a command would write. Returns the path."""
    path = Path(path).expanduser()
    if path.exists():
        raise FileExistsError(f"{str(path)!r} exists and is not overwritten. Choose another name, or remove it first.")
    return path


def new_file(path):
    """As `refuse_existing`, for a file in a folder that must be there."""
    path = refuse_existing(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} for {path.name!r}. Make it first.")
    return path
