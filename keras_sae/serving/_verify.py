import os
import re
import subprocess
import sys
from pathlib import Path

from keras_sae.serving._saved_model import versions_in


def verify_export(directory):
    """Checks what `export` wrote, as a server would find it: in a fresh process without keras_sae and without Keras.

    Of each version: the checksums of all files; that TensorFlow loads it; that every endpoint has the inputs and outputs that
    are documented, replays its golden requests to 1e-5, at batch sizes 1, 7 and 256, and answers the example requests and the
    warm-up records. Of the folder of a model: that the versions which its `models.config` names are there.

    Args:
        directory: The folder of a model, all versions of which are checked; or that of one version.

    Returns:
        A list of lines, what was checked of each version.

    Raises:
        FileNotFoundError: There is no version.
        RuntimeError: The first thing that is wrong.
    """
    directory = Path(directory).expanduser().resolve()
    versions = [directory / str(version) for version in versions_in(directory)]
    if (directory / "saved_model.pb").is_file() or (directory.name.isdecimal() and directory.is_dir()):
        versions = [directory]
    elif versions:
        _check_config(directory, versions)
    if not versions:
        raise FileNotFoundError(
            "`verify_export` takes the folder that a model was exported to, or that of one of its versions, which a number "
            f"names. Received: {str(directory)!r}, where no version is."
        )
    script = Path(__file__).with_name("verification_script.py")
    # -P: this folder is no place to import from.
    completed = subprocess.run(
        [sys.executable, "-P", str(script), *map(str, versions)],
        capture_output=True,
        text=True,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
    )
    if completed.returncode:
        lines = completed.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if completed.returncode == 1 and lines else completed.stderr[-2000:])
    return completed.stdout.splitlines()


def _check_config(directory, versions):
    config = directory / "models.config"
    if not config.is_file():
        raise RuntimeError(f"{config} is missing: a server would not know what to serve. The next export writes it.")
    named = re.findall(r"\bversions\s*:\s*(\d+)", re.sub(r"#.*", "", config.read_text()))
    for version in named:
        if directory / version not in versions:
            raise RuntimeError(f"{config} serves the version {version}, and there is no folder of that name.")
