import os
import re
import subprocess
import sys
from pathlib import Path

from keras_sae.serving._versions import versions_in


def verify_export(directory):
    """Checks an export as a server finds it: in a new process without keras_sae and without Keras.

    For each version, it checks that

    - the checksums of all files are right, and TensorFlow loads the model;
    - every endpoint has the inputs and outputs that `export.json` lists;
    - the golden inputs give the golden outputs within the tolerance of the endpoint (1e-5), at batch sizes 1, 7 and 256;
    - the example requests and warm-up records give the golden outputs too.

    In the folder of a model, it also checks that the versions in `models.config` exist.

    Args:
        directory: The folder of a model, to check all its versions, or the folder of one version.

    Returns:
        A list of lines that say what was checked, one per version.

    Raises:
        FileNotFoundError: The folder has no version.
        RuntimeError: A check failed. The message names the first failure.
    """
    directory = Path(directory).expanduser().resolve()
    versions = [directory / str(version) for version in versions_in(directory)]
    if (directory / "saved_model.pb").is_file() or (directory.name.isdecimal() and directory.is_dir()):
        versions = [directory]
    elif versions:
        _check_config(directory, versions)
    if not versions:
        raise FileNotFoundError(
            "`verify_export` needs the folder of an exported model, or of one of its versions, whose name is a number. "
            f"Received: {str(directory)!r}, which contains no version."
        )
    script = Path(__file__).with_name("verification_script.py")
    # -P keeps this folder off the import path.
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
        raise RuntimeError(f"{config} is missing, so a server does not know what to serve. Another `export` writes it again.")
    named = re.findall(r"\bversions\s*:\s*(\d+)", re.sub(r"#.*", "", config.read_text()))
    for version in named:
        if directory / version not in versions:
            raise RuntimeError(f"{config} serves version {version}, but there is no folder with this name.")
