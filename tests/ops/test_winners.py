import keras
import numpy as np
import pytest

from keras_sae.ops import are_largest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA of TensorFlow")

RANDOM = np.random.default_rng(0)
ROWS = {
    "different": RANDOM.normal(size=(7, 50)),
    "ties": RANDOM.integers(-2, 3, (7, 50)),
    "zeros of both signs": np.where(RANDOM.uniform(size=(7, 50)) < 0.5, -0.0, 0.0),
    "infinite": RANDOM.choice([np.inf, -np.inf, 0.3, -2.0, 1.5], size=(7, 50)),
    "extreme": RANDOM.choice([2e-38, -2e-38, 3e38, -3e38, 1.0, np.nextafter(np.float32(1), 2)], size=(7, 50)),
}


def first_winners(rows, count):
    """The mask by a stable sort, which takes the first of equal entries."""
    mask = np.zeros(rows.shape, bool)
    np.put_along_axis(mask, np.argsort(-rows, axis=-1, kind="stable")[:, :count], True, axis=-1)
    return mask


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"])
def select(request):
    import tensorflow as tf

    return tf.function(lambda rows, count: are_largest(rows, count, usual=5), jit_compile=request.param)


@pytest.mark.parametrize("kind", ROWS)
def test_the_first_of_the_largest_win_for_every_count(select, kind):
    import tensorflow as tf

    rows = ROWS[kind].astype("float32")
    for count in (1, 5, 6, 30, 50):
        wins, smallest = select(tf.constant(rows), tf.constant(count))
        np.testing.assert_array_equal(wins, first_winners(rows, count), err_msg=f"{count=}")
        np.testing.assert_array_equal(smallest[:, 0], -np.sort(-rows, axis=-1)[:, count - 1])
    assert not np.any(select(tf.constant(rows), tf.constant(0))[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", ["different", "ties"])
def test_other_precisions(dtype, kind):
    import tensorflow as tf

    rows = tf.cast(ROWS[kind], dtype)
    for usual in (None, 7):
        wins, smallest = are_largest(rows, 7, usual)
        assert smallest.dtype == rows.dtype
        np.testing.assert_array_equal(wins, first_winners(tf.cast(rows, "float64").numpy(), 7))


@pytest.mark.slow
def test_xla_compiles_no_sort():
    import tensorflow as tf

    def sorts(function):
        return function.experimental_get_compiler_ir(rows, tf.constant(5))(stage="optimized_hlo").count(" sort(")

    rows = tf.constant(ROWS["different"], "float32")
    assert sorts(tf.function(lambda rows, _: tf.sort(rows), jit_compile=True)) == 1  # so it would be seen
    assert sorts(tf.function(lambda rows, count: are_largest(rows, count, usual=5), jit_compile=True)) == 0
