"""The file of weights of a preset."""

import tempfile
from pathlib import Path

import h5py

from keras_sae.presets._manifest import CONFIG, WEIGHTS

# Smaller arrays take less room without the tables of compression.
_LEAST_BYTES = 2**16


def save_weights(model, path):
    """Saves the weights of a model, compressed without loss. `model.load_weights` reads them."""
    # The state of the optimizer belongs to a training run, not to a preset.
    optimizer, model.optimizer = getattr(model, "optimizer", None), None
    try:
        with tempfile.TemporaryDirectory() as directory:
            plain = Path(directory) / WEIGHTS
            model.save_weights(plain)
            _compress(plain, path)
    finally:
        model.optimizer = optimizer


def _compress(source, target):
    """Copies a file of weights. Bytes of equal rank are stored together, because exponents repeat and fractions do not."""
    with h5py.File(source) as plain, h5py.File(target, "w") as file:
        file.attrs.update(plain.attrs)

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                filters = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if item.nbytes > _LEAST_BYTES else {}
                made = file.create_dataset(name, data=item[()], **filters)
            else:
                made = file.require_group(name)
            made.attrs.update(item.attrs)

        plain.visititems(copy)


def check_weights(model, path):
    """Refuses weights of another model. Keras reads only what the model has, and ignores everything else in the file."""
    stored = _arrays(path)
    if sorted(stored.values()) == sorted(tuple(weight.shape) for weight in model.weights):
        return
    # Some layers store an array twice, or more than their weights. Then compare with a file that this model writes.
    with tempfile.TemporaryDirectory() as directory:
        save_weights(model, Path(directory) / WEIGHTS)
        own = _arrays(Path(directory) / WEIGHTS)
    for has, lacks, which in ((own, stored, "lacks"), (stored, own, "also holds")):
        differing = [f"{name} of shape {shape}" for name, shape in has.items() if lacks.get(name) != shape]
        if differing:
            raise ValueError(
                f"The weights in {str(path)!r} are not those of the model that {CONFIG} describes: the file {which} "
                f"{', '.join(differing[:3])}. Use a {CONFIG} and a {WEIGHTS} that were saved together."
            )


def _arrays(path):
    """Names and shapes of the arrays in a file of weights."""
    shapes = {}
    try:
        with h5py.File(path) as file:
            file.visititems(lambda name, item: shapes.update({name: item.shape} if isinstance(item, h5py.Dataset) else {}))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} is not a file of weights: {error}") from error
    return shapes
