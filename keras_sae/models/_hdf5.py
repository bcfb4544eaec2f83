"""HDF5 files of whole models, a format of Keras 2 that cannot keep an autoencoder."""

import functools

import keras


def is_hdf5(filepath):
    """Whether Keras would write a whole model to this path as HDF5."""
    return str(filepath).endswith((".h5", ".hdf5"))


def refuse_hdf5(where):
    """Raises ValueError. `where` says what was received."""
    raise ValueError(
        "The HDF5 format for whole models cannot keep an autoencoder's penalties, their scales and running means. "
        f"Received: {where} Save to a file that ends in `.keras`, or only the weights by `save_weights` to one that ends in "
        "`.weights.h5`."
    )


def refuse_config_for_hdf5(model):
    """Raises ValueError if Keras asks for a config to write to HDF5, as `keras.saving.save_model(model, "model.h5")` does."""
    if "module" not in _probe().get_config()["layers"][0]:  # the configs of Keras 2 lack it
        refuse_hdf5(
            f"the {type(model).__name__} {model.name!r}, to be written to a file in .h5 or .hdf5. Keras has begun that file: "
            "delete it."
        )


@functools.cache
def _probe():
    return keras.Sequential([keras.Input((1,), name="probe")], name="probe")
