import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import BatchKSparse
from keras_sae.ops import largest_of_many

RNG = np.random.default_rng(0)

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of TensorFlow: tf.distribute, tf.function"
)


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_a_sample_takes_what_another_does_not_need():
    code = np.array([[5.0, 4.0, 3.0], [2.0, 1.0, 0.5]], "float32")
    np.testing.assert_array_equal(as_numpy(BatchKSparse(2)(code, training=True)), [[5, 4, 3], [2, 0, 0]])


@pytest.mark.parametrize("rows", [1, 2, 31, 256])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_keeps_exactly_k_times_batch_whatever_the_ties(rows, k):
    for code in (RNG.normal(size=(rows, 40)), RNG.integers(1, 4, (rows, 40)), np.ones((rows, 40))):
        code = code.astype("float32")
        kept = as_numpy(BatchKSparse(k)(code, training=True))
        assert np.count_nonzero(kept) == k * rows
        assert kept[kept != 0].min() >= code[kept == 0].max(initial=-np.inf)


def test_codes_that_a_sample_of_the_entries_misjudges_are_selected_exactly():
    # The winners stand where the sample looks, and it takes them for the rule: the bound that it guesses is too high.
    scores = RNG.uniform(0, 1, 17 * 1000).astype("float32")
    scores[::17] += 10
    indices, smallest = largest_of_many(ops.convert_to_tensor(scores), 3000)
    expected = np.sort(scores)[-3000:]
    np.testing.assert_array_equal(np.sort(scores[as_numpy(indices)]), expected)
    assert float(smallest) == expected[0]


def test_the_threshold_is_a_moving_average_of_the_smallest_winner():
    layer = BatchKSparse(2, momentum=0.75)
    layer.build((None, 4))
    assert float(layer.threshold) == -np.inf
    layer(np.array([[4.0, 3.0, 2.0, 1.0]], "float32"), training=True)
    assert float(layer.threshold) == 3.0  # the first batch sets it
    layer(np.array([[9.0, 7.0, 2.0, 1.0]], "float32"), training=True)
    assert float(layer.threshold) == 0.75 * 3 + 0.25 * 7
    layer(np.array([[0.0, 0.0, 0.0, 0.0]], "float32"))
    assert float(layer.threshold) == 4.0  # inference leaves it


def test_inference_keeps_what_reaches_the_threshold():
    layer = BatchKSparse(1)
    code = np.array([[1.0, 3.0, 2.0]], "float32")
    np.testing.assert_array_equal(as_numpy(layer(code)), code)  # before any training
    layer(np.array([[0.0, 2.0, 1.0]], "float32"), training=True)
    np.testing.assert_array_equal(as_numpy(layer(code)), [[0, 3, 2]])


def test_at_inference_about_k_stay_on_data_like_those_of_the_training():
    layer = BatchKSparse(5, momentum=0.9)
    for _ in range(100):
        layer(RNG.normal(size=(64, 80)).astype("float32"), training=True)
    kept = np.count_nonzero(as_numpy(layer(RNG.normal(size=(2000, 80)).astype("float32"))), axis=-1)
    assert abs(kept.mean() - 5) < 0.25
    assert kept.min() < 5 < kept.max()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_batch_whose_smallest_winner_is_not_finite_leaves_the_threshold(value):
    layer = BatchKSparse(2)
    layer(np.array([[4.0, 3.0, 2.0]], "float32"), training=True)
    layer(np.array([[value, value, value]], "float32"), training=True)
    layer(np.zeros((0, 3), "float32"), training=True)
    assert float(layer.threshold) == 3.0


@pytest.mark.parametrize("current", [1, 3, 8, 9, 20])
def test_current_k_rules_training(current):
    code = RNG.normal(size=(6, 20)).astype("float32")
    layer = BatchKSparse(2)
    layer.build(code.shape)
    layer.current_k.assign(current)
    kept = as_numpy(layer(code, training=True))
    expected = np.sort(code.ravel())[-6 * current :]
    np.testing.assert_array_equal(np.sort(kept[kept != 0]), expected)
    assert float(layer.threshold) == expected[0]


@tensorflow_only
@pytest.mark.parametrize("jit_compile", [False, True])
def test_batches_of_any_size_in_one_graph(jit_compile):
    import tensorflow as tf

    layer = BatchKSparse(3)
    layer.build((None, 20))
    layer.compile_by_xla(jit_compile)
    signature = [tf.TensorSpec((None, 20))]
    select = tf.function(lambda z: layer(z, training=True), input_signature=signature, jit_compile=jit_compile)
    for rows in (0, 7) if jit_compile else (0, 1, 7, 64):  # XLA compiles each
        assert np.count_nonzero(select(tf.random.normal((rows, 20)))) == 3 * rows


@tensorflow_only
@pytest.mark.parametrize("synchronized", [False, True])
def test_replicas_compete_together_or_apart(two_replicas, synchronized):
    import tensorflow as tf

    code = RNG.normal(size=(8, 10)).astype("float32")
    code[:4] += 1  # so that the first half would win more
    with two_replicas.scope():
        layer = BatchKSparse(2, synchronized=synchronized)
        layer.build((None, 10))
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(code, 2)[context.replica_id_in_sync_group])
    )
    results = two_replicas.experimental_local_results(
        two_replicas.run(tf.function(lambda z: layer(z, training=True)), (halves,))
    )
    alone = [BatchKSparse(2) for _ in range(3)]
    if synchronized:
        expected = as_numpy(alone[0](code, training=True))
        threshold = float(alone[0].threshold)
    else:
        expected = np.concatenate(
            [as_numpy(one(half, training=True)) for one, half in zip(alone, np.split(code, 2), strict=False)]
        )
        threshold = (float(alone[0].threshold) + float(alone[1].threshold)) / 2
    np.testing.assert_array_equal(np.concatenate([as_numpy(result) for result in results]), expected)
    np.testing.assert_allclose(as_numpy(layer.threshold), threshold, rtol=1e-6)


def test_k_above_the_entries_of_a_sample_is_refused():
    BatchKSparse(24).build((None, 3, 4, 2))
    with pytest.raises(ValueError, match="k=25, entries=24"):
        BatchKSparse(25).build((None, 3, 4, 2))
    with pytest.raises(ValueError, match="fixed size"):
        BatchKSparse(2).build((None, None, 4, 2))


@pytest.mark.parametrize("arguments", [{"k": 0}, {"k": 1.5}, {"k": 2, "momentum": 1}, {"k": 2, "momentum": "0.9"}])
def test_bad_arguments_are_refused_at_construction(arguments):
    with pytest.raises(ValueError, match="Received"):
        BatchKSparse(**arguments)
