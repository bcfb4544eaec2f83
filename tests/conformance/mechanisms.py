"""One row per public mechanism. The laws are in the tests beside this file; one fails for a mechanism without a row."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_sae.layers import BatchKSparse, KSparse, WinnerTakeAll
from keras_sae.models import DenseAutoencoder, SparseAutoencoder
from keras_sae.regularizers import ActivityKL, ActivityLog, ActivityTargetL1, ActivityTargetL2, Contrast, GroupL21

UNITS = 12
MAP = (3, 4)  # the positions of a convolutional code
EAGERLY = keras.backend.backend() != "jax"  # one step costs less than a trace; JAX would compile each operation by itself


@dataclasses.dataclass(frozen=True)
class Selection:
    """A selection layer.

    Attributes:
        make: Makes the layer.
        reference: What it selects, in NumPy: a function of a code without ties or NaN and of `training`. At inference
            `BatchKSparse` depends on what it was trained with: None.
        positions: Shape of the positions of a sample.
        global_batch: Whether the law of replicas holds: a selection over each replica's own batch is another one.
        lowest: An entry that wins against no other.
    """

    make: Callable
    reference: Callable
    positions: tuple = ()
    global_batch: bool = True
    lowest: float = -1e30


@dataclasses.dataclass(frozen=True)
class Penalty:
    """A penalty.

    Attributes:
        make: Makes it.
        closed_form: Its value in NumPy float64, a function of a code `(positions, units)` and of the label of each position.
        low, high: The range of the codes that it is defined on.
        activation: That of the layer that makes the code.
        positions: Shape of the positions of a sample.
    """

    make: Callable
    closed_form: Callable
    low: float = 0.02
    high: float = 0.9
    activation: str = "sigmoid"
    global_batch: bool = True
    positions: tuple = ()


def largest(rows, count):
    """Zeroes all but the `count` largest entries of each row of an array `(rows, competitors)`."""
    kept = np.argsort(-rows, axis=-1, kind="stable")[:, :count]
    mask = np.zeros(rows.shape, bool)
    np.put_along_axis(mask, kept, True, axis=-1)
    return np.where(mask, rows, 0)


def of_maps(code, count):
    """The `count` largest positions of each unit's map."""
    rows = np.moveaxis(code, -1, 1)  # (batch, units, *positions)
    return np.moveaxis(largest(rows.reshape(-1, np.prod(MAP)), count).reshape(rows.shape), 1, -1)


def of_batch(code, share):
    """The largest positions of each unit in the batch, a share of those that are not zero."""
    rows = code.reshape(-1, code.shape[-1]).T
    return largest(rows, max(1, int(share * rows.shape[1]))).T.reshape(code.shape)


def winners_of_batch(code, share):
    """Of the spatial winners, the largest of each unit in the batch."""
    winners = of_maps(code, 1)
    values = winners.sum(axis=(1, 2))  # (batch, units)
    return np.where(of_batch(values, share)[:, None, None, :] != 0, winners, 0)


def k_sparse(select_by="value"):
    def select(code, training):
        score = np.abs(code) if select_by == "magnitude" else code
        return np.where(largest(score - score.min() + 1, 3 if training else 6) > 0, code, 0)

    return select


def whole(code, count):
    return largest(code.reshape(len(code), -1), count).reshape(code.shape)


def batch_k(code, training):
    return largest(code.reshape(1, -1), 3 * len(code)).reshape(code.shape) if training else None


def lifetime(code, training):
    return of_batch(code, 0.25) if training else code


def spatial_and_lifetime(code, training):
    return winners_of_batch(code, 0.25) if training else of_maps(code, 1)


SELECTIONS = {
    "KSparse": Selection(lambda: KSparse(3, alpha=2), k_sparse()),
    "KSparse by magnitude": Selection(lambda: KSparse(3, alpha=2, select_by="magnitude"), k_sparse("magnitude"), lowest=0.0),
    "KSparse across units": Selection(
        lambda: KSparse(3, alpha=2),
        lambda code, training: k_sparse()(code.reshape(-1, UNITS), training).reshape(code.shape),
        MAP,
    ),
    "KSparse across positions": Selection(lambda: KSparse(2, across="positions"), lambda code, training: of_maps(code, 2), MAP),
    "KSparse across all": Selection(lambda: KSparse(5, across="all"), lambda code, training: whole(code, 5), MAP),
    "BatchKSparse": Selection(lambda: BatchKSparse(3), batch_k, global_batch=False),
    "BatchKSparse synchronized": Selection(lambda: BatchKSparse(3, synchronized=True), batch_k),
    "BatchKSparse of maps": Selection(lambda: BatchKSparse(3, synchronized=True), batch_k, MAP),
    "WinnerTakeAll": Selection(lambda: WinnerTakeAll(lifetime=0.25), lifetime, global_batch=False),
    "WinnerTakeAll synchronized": Selection(lambda: WinnerTakeAll(lifetime=0.25, synchronized=True), lifetime),
    "WinnerTakeAll of maps": Selection(lambda: WinnerTakeAll(lifetime=0.25, synchronized=True), lifetime, MAP),
    "WinnerTakeAll spatial": Selection(
        lambda: WinnerTakeAll(spatial=True, lifetime=None), lambda code, training: of_maps(code, 1), MAP
    ),
    "WinnerTakeAll spatial and lifetime": Selection(
        lambda: WinnerTakeAll(spatial=True, lifetime=0.25, synchronized=True), spatial_and_lifetime, MAP
    ),
}


def kl(target, rate):
    return target * np.log(target / rate) + (1 - target) * np.log((1 - target) / (1 - rate))


def group(code, labels):
    return sum(np.sqrt(np.square(code[labels == label]).mean(axis=0)).sum() for label in np.unique(labels))


def contrast(code):
    rows = code / np.sqrt(np.maximum(np.square(code).sum(axis=1, keepdims=True), 1e-12))
    similarities = rows @ rows.T / 0.5
    return (np.log(np.exp(similarities).mean(axis=1)) - np.diag(similarities)).mean()


PENALTIES = {
    "ActivityKL": Penalty(lambda: ActivityKL(0.1, 2.0), lambda a, _: 2 * kl(0.1, a.mean(axis=0)).sum()),
    "ActivityKL population": Penalty(
        lambda: ActivityKL(0.1, 2.0, "population"), lambda a, _: 2 * kl(0.1, a.mean(axis=1)).mean()
    ),
    "ActivityKL tanh": Penalty(
        lambda: ActivityKL(-0.8, 2.0, activation_range="tanh"),
        lambda a, _: 2 * kl(0.1, (1 + a.mean(axis=0)) / 2).sum(),
        low=-0.95,
        activation="tanh",
    ),
    "ActivityKL running mean": Penalty(
        lambda: ActivityKL(0.1, 2.0, momentum=0.8), lambda a, _: 2 * kl(0.1, a.mean(axis=0)).sum()
    ),
    "ActivityKL of maps": Penalty(lambda: ActivityKL(0.1, 2.0), lambda a, _: 2 * kl(0.1, a.mean(axis=0)).sum(), positions=MAP),
    "ActivityLog": Penalty(
        lambda: ActivityLog(2.0), lambda a, _: 2 * np.log(1 + np.square(a)).sum(axis=1).mean(), -0.9, activation="relu"
    ),
    "ActivityTargetL1": Penalty(lambda: ActivityTargetL1(0.1, 2.0), lambda a, _: 2 * np.abs(a.mean(axis=0) - 0.1).sum()),
    "ActivityTargetL1 population": Penalty(
        lambda: ActivityTargetL1(0.1, 2.0, "population"), lambda a, _: 2 * np.abs(a.mean(axis=1) - 0.1).mean()
    ),
    "ActivityTargetL1 tanh": Penalty(
        lambda: ActivityTargetL1(-0.8, 2.0, activation_range="tanh"),
        lambda a, _: np.abs(a.mean(axis=0) + 0.8).sum(),
        low=-0.95,
        activation="tanh",
    ),
    "ActivityTargetL2": Penalty(lambda: ActivityTargetL2(0.1, 2.0), lambda a, _: 2 * np.square(a.mean(axis=0) - 0.1).sum()),
    "ActivityTargetL2 population": Penalty(
        lambda: ActivityTargetL2(0.1, 2.0, "population"), lambda a, _: 2 * np.square(a.mean(axis=1) - 0.1).mean()
    ),
    "ActivityTargetL2 tanh": Penalty(
        lambda: ActivityTargetL2(-0.8, 2.0, activation_range="tanh"),
        lambda a, _: 0.5 * np.square(a.mean(axis=0) + 0.8).sum(),
        low=-0.95,
        activation="tanh",
    ),
    "ActivityTargetL2 running mean": Penalty(
        lambda: ActivityTargetL2(0.1, 2.0, momentum=0.8), lambda a, _: 2 * np.square(a.mean(axis=0) - 0.1).sum()
    ),
    "Contrast": Penalty(lambda: Contrast(2.0, 0.5), lambda a, _: 2 * contrast(a), -0.9, activation="relu"),
    "GroupL21": Penalty(lambda: GroupL21(2.0), lambda a, labels: 2 * group(a, labels), -0.9, activation="relu"),
    "GroupL21 of maps": Penalty(
        lambda: GroupL21(2.0), lambda a, labels: 2 * group(a, labels), -0.9, activation="relu", positions=MAP
    ),
    # Keras' own, as the objective charges them.
    "L1": Penalty(lambda: keras.regularizers.L1(2.0), lambda a, _: 2 * np.abs(a).sum(axis=1).mean(), -0.9, activation="relu"),
    "L2": Penalty(
        lambda: keras.regularizers.L2(2.0), lambda a, _: 2 * np.square(a).sum(axis=1).mean(), -0.9, activation="relu"
    ),
}

MECHANISMS = {**SELECTIONS, **PENALTIES}

# Public layers and regularizers that are no mechanism.
OTHERS = {
    "AddMean",
    "ActivityPenalty",
    "AuxiliaryK",  # these three need a decoder, see tests/models/test_decoded_penalties.py
    "NestedPrefixes",
    "SeveralK",
    "BothSigns",
    "ContrastNormalization",
    "DecodedPenalty",
    "Deskew",
    "FISTA",
    "GaussianKL",
    "GaussianSample",
    "GridPooling",
    "LISTA",
    "LargestShare",
    "MaskingNoise",
    "MirrorAverage",
    "MomentNormalization",
    "OrientedGradients",
    "PartialWhitening",
    "Patches",
    "Power",
    "RotationAverage",
    "SaltAndPepperNoise",
    "Selection",
    "SoftKSparse",
    "SoftThreshold",
    "SquareRoot",
    "Standardize",
    "SubtractMean",
    "TiedConvTranspose",
    "TiedDense",
    "Triangle",
    "ZCAWhitening",
}


def code_of(case, rows=32, seed=0, dtype="float32"):
    """A random code for a row of the table, without ties and within its range."""
    low, high = getattr(case, "low", -1.0), getattr(case, "high", 1.0)
    return np.random.default_rng(seed).uniform(low, high, (rows, *case.positions, UNITS)).astype(dtype)


def labels_of(rows):
    """Class labels for a number of samples: three classes, not numbered from 0."""
    return (np.arange(rows) % 3 * 5 - 4).astype("int32")


def is_supervised(case):
    return getattr(case.make(), "supervised", False)


def inputs_of(case, rows=64, seed=0):
    """Inputs for `model_of(case)`, and labels or None."""
    x = np.random.default_rng(seed).uniform(size=(rows, 6) if not case.positions else (rows, *MAP, 2)).astype("float32")
    return x, (labels_of(rows) if isinstance(case, Penalty) and is_supervised(case) else None)


def model_of(case, dtype=None):
    """A small autoencoder with the mechanism: dense, or convolutional where its codes have positions."""
    activation = getattr(case, "activation", None)
    if not case.positions:
        return DenseAutoencoder(6, UNITS, sparsity=case.make(), activation=activation, dtype=dtype)
    encoder = keras.Sequential(
        [keras.Input((*MAP, 2)), keras.layers.Conv2D(UNITS, 3, padding="same", activation=activation, dtype=dtype)]
    )
    decoder = keras.Sequential([keras.Input((*MAP, UNITS)), keras.layers.Conv2DTranspose(2, 3, padding="same", dtype=dtype)])
    return SparseAutoencoder(encoder, decoder, sparsity=case.make())
