"""Gradients on whichever backend Keras runs."""

import keras
import numpy as np
from keras import ops


def gradient(function, x):
    """The gradient of a scalar function of one array, as a float32 array."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return np.asarray(tf.cast(tape.gradient(value, x), tf.float32))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(function)(ops.convert_to_tensor(x)), "float32")
    x = ops.convert_to_tensor(x).detach().clone().requires_grad_()
    function(x).backward()
    return x.grad.detach().float().cpu().numpy()


def differences(function, x, entries, step=1e-6):
    """Central differences of a scalar function of a float64 array, at some entries of it."""
    slopes = []
    for entry in entries:
        above, below = x.copy(), x.copy()
        above[entry] += step
        below[entry] -= step
        slopes.append((function(above) - function(below)) / (2 * step))
    return np.asarray(slopes)
