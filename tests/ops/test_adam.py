import keras
import numpy as np
import pytest

from keras_sae.ops import fuse_adam

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's operation")


@pytest.mark.parametrize("make", [keras.optimizers.Adam, keras.optimizers.AdamW], ids=lambda make: make.__name__)
@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2, "use_ema": True}], ids=["plain", "accumulated"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_and_state_are_those_of_keras(make, options, dtype):
    states = []
    for fuse in (lambda optimizer: optimizer, fuse_adam):
        random = np.random.default_rng(0)
        variables = [keras.Variable(random.normal(size=shape), dtype=dtype) for shape in ((3, 4), (5,))]
        optimizer = fuse(make(0.01, clipnorm=2.0, beta_1=0.8, epsilon=1e-3, **options))
        for _ in range(4):
            optimizer.apply([keras.ops.convert_to_tensor(random.normal(size=v.shape), dtype) for v in variables], variables)
        states.append([keras.ops.convert_to_numpy(each) for each in (*variables, *optimizer.variables)])
    for one, other in zip(*states, strict=True):
        rtol, atol = (2e-6, 1e-7) if dtype == "float32" else (1e-12, 1e-13)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def test_the_operation_is_used():
    import tensorflow as tf

    variable = keras.Variable(np.ones(3, "float32"))
    optimizer = keras.optimizers.LossScaleOptimizer(fuse_adam(keras.optimizers.Adam()))
    optimizer.build([variable])
    step = tf.function(lambda: fuse_adam(optimizer).apply([tf.ones(3)], [variable]))
    functions = step.get_concrete_function().graph.as_graph_def()
    assert "ResourceApplyAdam" in str(functions)


def test_other_optimizers_stay_as_they_are():
    class Mine(keras.optimizers.Adam):
        pass

    for optimizer in (keras.optimizers.SGD(), keras.optimizers.Adam(amsgrad=True), Mine()):
        assert "update_step" not in vars(fuse_adam(optimizer))
