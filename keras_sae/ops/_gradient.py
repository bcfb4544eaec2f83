"""The gradient for an input, which Keras has no function for, on each backend."""

import keras


def input_gradient(function, x):
    """The gradient of `sum(function(x))` for `x`, a tensor of the shape of `x`. No gradient flows through the result."""
    x = keras.ops.stop_gradient(keras.ops.convert_to_tensor(x))
    return keras.ops.stop_gradient(_BACKENDS[keras.backend.backend()](lambda x: keras.ops.sum(function(x)), x))


def _tensorflow(function, x):
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


def _jax(function, x):
    import jax

    return jax.grad(function)(x)


def _torch(function, x):
    import torch

    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x)[0]


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
