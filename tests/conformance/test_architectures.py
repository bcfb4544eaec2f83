"""Every architecture with every mechanism: it trains, is saved, and comes back; or it is refused when it is made."""

import dataclasses
import inspect
from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import ops
from mechanisms import EAGERLY, MECHANISMS, UNITS, is_supervised

from keras_sae import models
from keras_sae.datasets import load_arrays

SHAPE = (28, 28, 1)


def pair(sparsity):
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(UNITS, name="encode")])
    decoder = keras.Sequential([keras.Input((UNITS,)), keras.layers.Dense(784), keras.layers.Reshape(SHAPE)])
    return models.SparseAutoencoder(encoder, decoder, sparsity)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An architecture.

    Attributes:
        make: Makes it, with a mechanism or None.
        maps: Whether its code has positions.
        energy: Whether inference minimises an energy, which only L1 and the log penalty are part of.
        linear: Whether its code is linear, on which a KL divergence is undefined.
    """

    make: Callable
    maps: bool = False
    energy: bool = False
    linear: bool = False

    def takes(self, name):
        """Whether a mechanism makes sense here."""
        if self.energy:
            return name in ("L1", "ActivityLog")
        if self.linear and name == "ActivityKL":
            return False
        return self.maps or not ("positions" in name or "spatial" in name)


ARCHITECTURES = {
    "SparseAutoencoder": Architecture(pair, linear=True),
    "DenseAutoencoder": Architecture(lambda sparsity: models.DenseAutoencoder(SHAPE, UNITS, sparsity, tied=True)),
    "DeepAutoencoder": Architecture(lambda sparsity: models.DeepAutoencoder(SHAPE, [16], UNITS, sparsity)),
    "StackedAutoencoder": Architecture(lambda sparsity: models.StackedAutoencoder(SHAPE, [16, UNITS], sparsity)),
    "ConvolutionalAutoencoder": Architecture(
        lambda sparsity: models.ConvolutionalAutoencoder(SHAPE, [4, UNITS], sparsity, strides=[3, 2]), maps=True
    ),
    "SparseCodingAutoencoder": Architecture(
        lambda sparsity: models.SparseCodingAutoencoder(SHAPE, UNITS, sparsity, steps=5), energy=True
    ),
}
LIKE_OTHERS = ("SparseAutoencoder", "DeepAutoencoder", "StackedAutoencoder")  # in how they are saved
WITHOUT = {"VariationalAutoencoder"}  # the counter-example: its code is dense by design
VARIANTS = ("synchronized", "maps", "tanh", "running", "population", "magnitude", "units")
NAMES = [name for name in MECHANISMS if not set(VARIANTS) & set(name.split())]


def test_every_architecture_and_every_mechanism_is_here():
    public = {name for name in models.__all__ if inspect.isclass(getattr(models, name))}
    assert public == set(ARCHITECTURES) | WITHOUT
    assert {name.split()[0] for name in NAMES} == {name.split()[0] for name in MECHANISMS}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in ARCHITECTURES]
)
def test_models_train_are_saved_and_come_back_in_a_fresh_process(name, tmp_path, in_fresh_process):
    architecture = ARCHITECTURES[name]
    images, labels = load_arrays("fashion_mnist_sample", "train[:128]")
    x = images.astype("float32") / 255
    cases = [mechanism for mechanism in NAMES if architecture.takes(mechanism)]
    cases += [] if architecture.energy else [None]
    assert len(cases) >= 2
    expected = {"x": x[:16]}
    for index, mechanism in enumerate(cases):
        case = mechanism and MECHANISMS[mechanism]
        model = architecture.make(case and case.make())
        model.compile("adam", "mse", run_eagerly=EAGERLY)
        y = labels if case and is_supervised(case) else None
        before = model.get_weights()
        logs = model.fit(x, y, batch_size=64, verbose=0).history
        assert np.isfinite(logs["loss"]).all(), mechanism
        assert any((new != old).any() for new, old in zip(model.get_weights(), before, strict=True)), mechanism
        model.save(tmp_path / f"{index}.keras")
        expected[f"outputs {index}"] = ops.convert_to_numpy(model(x[:16]))
        expected[f"codes {index}"] = ops.convert_to_numpy(model.encoder(x[:16]))
    np.savez(tmp_path / "expected.npz", **expected)
    in_fresh_process(
        """
import sys
import keras, numpy as np
import keras_sae
expected = np.load(sys.argv[1] + "/expected.npz")
for index in range(int(sys.argv[2])):
    model = keras.models.load_model(f"{sys.argv[1]}/{index}.keras")
    assert type(model).__name__ == sys.argv[3]
    for name, made in (("outputs", model), ("codes", model.encoder)):
        got = keras.ops.convert_to_numpy(made(expected["x"]))
        np.testing.assert_allclose(got, expected[f"{name} {index}"], rtol=1e-5, atol=1e-6)
""",
        tmp_path,
        len(cases),
        name,
        forked=True,
    )


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [(name, mechanism) for name in ARCHITECTURES for mechanism in NAMES if not ARCHITECTURES[name].takes(mechanism)],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(name, mechanism):
    with pytest.raises(ValueError, match=r"Received|undefined"):
        ARCHITECTURES[name].make(MECHANISMS[mechanism].make())


def test_the_variational_autoencoder_takes_no_mechanism():
    with pytest.raises(TypeError, match="sparsity"):
        models.VariationalAutoencoder(SHAPE, 2, sparsity=MECHANISMS["KSparse"].make())
