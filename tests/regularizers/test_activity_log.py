import numpy as np
import pytest

from keras_sae.regularizers import ActivityLog


def test_by_hand():
    code = np.array([[3.0, 0.0, -1.0], [0.0, 0.0, 1.0]], "float32")
    np.testing.assert_allclose(float(ActivityLog(0.5).penalty(code)), 0.5 * (np.log(10) + 2 * np.log(2)) / 2, rtol=1e-6)


def test_one_large_activation_costs_less_than_two_of_the_same_energy():
    one, two = np.array([[5.0, 0.0]], "float32"), np.array([[np.sqrt(12.5)] * 2], "float32")
    assert float(ActivityLog().penalty(one)) < 0.7 * float(ActivityLog().penalty(two))


def test_slope_and_curvature_are_those_of_the_penalty():
    code, penalty, step = np.linspace(-4, 4, 801), ActivityLog(0.3), 1e-4
    values = [0.3 * np.log1p(np.square(code + shift)) for shift in (-step, 0, step)]
    np.testing.assert_allclose(np.asarray(penalty.slope(code)), (values[2] - values[0]) / (2 * step), atol=1e-6)
    second = (values[2] - 2 * values[1] + values[0]) / step**2
    np.testing.assert_allclose(np.abs(second).max(), penalty.curvature, rtol=1e-4)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "large"])
def test_bad_weights_are_refused(weight):
    with pytest.raises(ValueError, match="weight="):
        ActivityLog(weight)
