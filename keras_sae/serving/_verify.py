import os
import subprocess
import sys
from pathlib import Path

from keras_sae.serving._server_config import check_server_config
from keras_sae.serving._versions import check_path, folders_in, version_of


def verify_export(directory):
    """Checks an export as a server finds it: in a new process without keras_sae and without Keras.

    For each version, it checks that

    - the checksums of all files are right, and TensorFlow loads the model;
    - every endpoint has the inputs and outputs that `export.json` lists;
    - the golden inputs give the golden outputs within the tolerance of the endpoint (1e-5), at batch sizes 1, 7 and 256;
    - the example requests and warm-up records give the golden outputs too.

    In the folder of a model, it also checks `models.config`: TF Serving can read it, it names this model and its folder, the
    versions that it serves exist, and every label is that of a served version.

    Like TF Serving, it reads the names of folders as numbers: version 1 may be in `001`.

    Args:
        directory: The folder of a model, to check all its versions, or the folder of one version.

    Returns:
        A list of lines that say what was checked, one per version.

    Raises:
        FileNotFoundError: The folder has no version.
        ValueError: TensorFlow cannot load a model from such a path.
        RuntimeError: A check failed. The message names the first failure.
    """
    directory = Path(directory).expanduser().resolve()
    check_path(directory)
    versions = list(folders_in(directory).values())
    if (directory / "saved_model.pb").is_file() or (version_of(directory) is not None and directory.is_dir()):
        versions = [directory]
    elif versions:
        check_server_config(directory)
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
