"""Keras names an optimizer's slots after the weight that they belong to. This fails where it no longer does."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.callbacks._optimizer_slots import slots_of

OPTIMIZERS = {
    "sgd": (lambda: keras.optimizers.SGD(0.1), 0),
    "momentum": (lambda: keras.optimizers.SGD(0.1, momentum=0.9), 1),
    "adam": (lambda: keras.optimizers.Adam(0.1), 2),
    "amsgrad": (lambda: keras.optimizers.AdamW(0.1, amsgrad=True), 3),
    "rmsprop": (lambda: keras.optimizers.RMSprop(0.1, momentum=0.9), 2),
    "lion": (lambda: keras.optimizers.Lion(0.1), 1),
    "adam of scaled losses": (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)), 2),
}
if keras.backend.backend() == "jax":
    OPTIMIZERS.pop("adam of scaled losses")  # on JAX, Keras applies it in compiled steps only


@pytest.mark.parametrize(("make", "count"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_slots_of_a_weight_are_those_that_its_gradient_moves(make, count):
    # Two weights of one shape, whose names begin alike.
    layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in ("encode", "encode_1")]
    for layer in layers:
        layer.build((None, 3))
    optimizer, weights = make(), [layer.kernel for layer in layers]
    optimizer.build(weights)
    slots = [slots_of(optimizer, weight) for weight in weights]
    assert [len(several) for several in slots] == [count, count]
    before = [[ops.convert_to_numpy(slot).copy() for slot in several] for several in slots]
    optimizer.apply([ops.ones((3, 3)), ops.zeros((3, 3))], weights)
    for slot, old in zip(slots[0], before[0], strict=True):
        assert (ops.convert_to_numpy(slot) != old).all(), slot.path
    for slot, old in zip(slots[1], before[1], strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(slot), old)
