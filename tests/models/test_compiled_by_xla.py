"""Steps that XLA compiles are those of the graph, and no sort hides in them."""

import keras
import numpy as np
import pytest

from keras_sae.layers import BatchKSparse, KSparse, WinnerTakeAll
from keras_sae.models import DenseAutoencoder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA of TensorFlow")]

X = np.random.default_rng(0).normal(size=(12, 6)).astype("float32")


def compiled_step(selection, jit_compile=True):
    """A model after a step, with a current `k` that differs from `k`."""
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(6, 40, sparsity=selection)
    model.adapt(X)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    if hasattr(model.selections[0], "current_k"):
        model.selections[0].current_k.assign(9)
    return model, model.train_on_batch(X)


@pytest.mark.parametrize("make", [lambda: KSparse(3), lambda: BatchKSparse(3)], ids=["k_sparse", "batch_k_sparse"])
def test_a_step_while_k_anneals_is_that_of_the_graph(make):
    (model, loss), (other, other_loss) = (compiled_step(make(), jit_compile) for jit_compile in (True, False))
    np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
    for one, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "selection",
    [KSparse(3), KSparse(3, select_by="magnitude", alpha=2), BatchKSparse(3), WinnerTakeAll(spatial=False, lifetime=0.25)],
    ids=lambda selection: selection.name,
)
def test_no_sort_hides_in_values_and_gradients(selection, training):
    import tensorflow as tf

    model, _ = compiled_step(selection)

    @tf.function(jit_compile=True)
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=training) ** 2)
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    assert " sort(" not in gradients.experimental_get_compiler_ir(tf.constant(X))(stage="optimized_hlo")
