"""Loads Keras, or says what to install."""

import contextlib
import os
import shutil
import sys
import tempfile

# By the module that Keras misses: the backend, and how to get it.
_INSTALL = {
    "tensorflow": (
        "TensorFlow",
        'Install it with `pip install "keras_sae[cpu]"`, or with `pip install "keras_sae[gpu]"` for NVIDIA GPUs. To use JAX or '
        "PyTorch instead, install `keras_sae[jax]` or `keras_sae[torch]` and set the environment variable KERAS_BACKEND to "
        "`jax` or `torch`.",
    ),
    "jax": ("JAX", 'Install it with `pip install "keras_sae[jax]"`.'),
    "torch": ("PyTorch", 'Install it with `pip install "keras_sae[torch]"`.'),
}


def load_keras():
    """The module `keras`, or an ImportError that says how to install its backend."""
    silent = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3" and "keras" not in sys.modules
    try:
        with _without_native_messages() if silent else contextlib.nullcontext():
            import keras
    except ModuleNotFoundError as error:
        if error.name not in _INSTALL:
            raise
        backend, advice = _INSTALL[error.name]
        raise ImportError(f"{backend}, the Keras backend, is not installed. {advice}") from error
    return keras


@contextlib.contextmanager
def _without_native_messages():
    """Hides what libraries write to the error stream, unless an exception is raised.

    TensorFlow 2.21 writes lines while it loads before it reads TF_CPP_MIN_LOG_LEVEL, which should hide them.
    """
    try:
        stream = os.dup(2)
    except OSError:  # the process has no error stream
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except Exception:
            hidden.seek(0)
            with open(stream, "wb", closefd=False) as shown:
                shutil.copyfileobj(hidden, shown)
            raise
        finally:
            os.dup2(stream, 2)
            os.close(stream)
