import keras
import numpy as np
import pytest

from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityTargetL1, ActivityTargetL2

CODE = np.array([[0.2, 0.8], [0.2, 0.2]], "float32")  # rates 0.2 and 0.5; rates of positions 0.5 and 0.2


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (ActivityTargetL1(0.1), 0.1 + 0.4),
        (ActivityTargetL2(0.1), 0.01 + 0.16),
        (ActivityTargetL1(0.3, 2.0, "population"), 2 * (0.2 + 0.1) / 2),
        (ActivityTargetL2(0.3, 2.0, "population"), 2 * (0.04 + 0.01) / 2),
        (ActivityTargetL1(-0.5, activation_range="tanh"), (0.7 + 1.0) / 2),  # rates 0.6 and 0.75, target 0.25
        (ActivityTargetL2(-0.5, activation_range="tanh"), 0.35**2 + 0.5**2),
        (ActivityTargetL1(2.0), 1.8 + 1.5),  # of a ReLU code
    ],
)
def test_by_hand(penalty, expected):
    np.testing.assert_allclose(float(penalty.penalty(CODE)), expected, rtol=1e-6)


@pytest.mark.parametrize("make", [ActivityTargetL1, ActivityTargetL2])
def test_any_activation_is_taken(make):
    for activation in ("relu", "linear", "sigmoid"):
        DenseAutoencoder(4, 3, sparsity=make(0.1), activation=activation)


@pytest.mark.parametrize("make", [ActivityTargetL1, ActivityTargetL2])
@pytest.mark.parametrize(
    "arguments",
    [
        {"target": float("nan")},
        {"target": float("inf")},
        {"target": "0.1"},
        {"target": -1.5, "activation_range": "tanh"},
        {"weight": -1.0},
        {"sparsity": "lifelong"},
        {"activation_range": "relu"},
        {"momentum": 1.0},
        {"momentum": 0.9, "sparsity": "population"},
    ],
)
def test_bad_arguments_are_refused_at_construction(make, arguments):
    with pytest.raises(ValueError, match="Received"):
        make(**arguments)


def test_config_round_trip():
    penalty = ActivityTargetL2(-0.5, 2.0, "lifetime", "tanh", momentum=0.5)
    again = keras.regularizers.deserialize(keras.regularizers.serialize(penalty))
    assert isinstance(again, ActivityTargetL2)
    assert again.get_config() == penalty.get_config()
