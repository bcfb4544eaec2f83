import keras
import numpy as np
import pytest

from keras_sae.metrics import L0, DeadUnits, MeanRate

CODE = np.array([[0.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.05, 0.0]], "float32")


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(L0(), 1.5), (L0(0.1), 1.0), (MeanRate(), 3.05 / 8), (DeadUnits(4), 1), (DeadUnits(4, 0.1), 2)],
)
def test_by_hand_over_batches_and_positions(metric, expected):
    metric.update_state(CODE)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)
    metric.reset_state()
    for row in CODE:  # one position at a time, of another rank
        metric.update_state(row.reshape(1, 1, 1, 4))
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)
    metric.reset_state()
    again = type(metric).from_config(metric.get_config())
    again.update_state(CODE)
    np.testing.assert_allclose(again.result(), expected, rtol=1e-6)


def test_nothing_seen_is_zero_and_all_dead():
    assert float(L0().result()) == 0
    assert float(MeanRate().result()) == 0
    assert float(DeadUnits(3).result()) == 3


def test_half_precision_codes_are_counted_in_float32():
    metric = L0()
    metric.update_state(np.ones((4096, 64), "float16"))
    assert float(metric.result()) == 64


def test_registered():
    metric = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(DeadUnits(4, 0.5)))
    assert (metric.units, metric.threshold) == (4, 0.5)
