"""One row per public mechanism. `test_laws.py` fails for a mechanism without a row."""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_sae.layers import KSparse
from keras_sae.regularizers import ActivityKL

UNITS = 12


@dataclasses.dataclass(frozen=True)
class Selection:
    """A selection layer: how to make it, and the number of entries of a position that it may keep."""

    make: Callable
    kept: int
    kept_in_training: int


@dataclasses.dataclass(frozen=True)
class Penalty:
    """A penalty: how to make it, its closed form in NumPy float64, and the range of codes that it is defined on."""

    make: Callable
    closed_form: Callable
    low: float = 0.02
    high: float = 0.9


def _kl(target, rate):
    return target * np.log(target / rate) + (1 - target) * np.log((1 - target) / (1 - rate))


SELECTIONS = {
    "KSparse": Selection(lambda: KSparse(3, alpha=2), kept=6, kept_in_training=3),
    "KSparse by magnitude": Selection(lambda: KSparse(3, select_by="magnitude"), kept=3, kept_in_training=3),
}

PENALTIES = {
    "ActivityKL": Penalty(lambda: ActivityKL(0.1, 2.0), lambda a: 2 * _kl(0.1, a.mean(axis=0)).sum()),
    "ActivityKL population": Penalty(lambda: ActivityKL(0.1, 2.0, "population"), lambda a: 2 * _kl(0.1, a.mean(axis=1)).mean()),
    "ActivityKL tanh": Penalty(
        lambda: ActivityKL(-0.8, 2.0, activation_range="tanh"),
        lambda a: 2 * _kl(0.1, (1 + a.mean(axis=0)) / 2).sum(),
        low=-0.95,
        high=0.9,
    ),
}

# Public layers and regularizers that are no mechanism.
OTHERS = {"TiedDense", "ActivityPenalty"}
