import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import BatchKSparse, KSparse, MaskingNoise
from keras_sae.models import ConvolutionalAutoencoder, DeepAutoencoder, DenseAutoencoder, SparseCodingAutoencoder
from keras_sae.regularizers import ActivityKL

X = np.random.default_rng(0).uniform(size=(64, 12)).astype("float32")


def active(code):
    return float((ops.convert_to_numpy(code) != 0).sum(1).mean())


def test_a_selection_of_another_model_is_copied_for_the_width_of_this_one():
    selection = BatchKSparse(5, momentum=0.5, name="winners")
    first, second = (DenseAutoencoder(12, units, selection) for units in (50, 500))
    assert first.selections[0] is selection  # so that the user can still reach it
    assert second.selections[0] is not selection
    assert second.selections[0].get_config() == selection.get_config()
    for model in (first, second):
        assert active(model.encoder(X, training=True)) == 5


def test_training_one_model_does_not_move_the_threshold_of_another():
    selection = BatchKSparse(3)
    first, second = (DenseAutoencoder(12, 20, selection) for _ in range(2))
    first.encoder(X, training=True)
    threshold = float(ops.convert_to_numpy(first.selections[0].threshold))
    second.encoder(100 * X, training=True)
    assert float(ops.convert_to_numpy(first.selections[0].threshold)) == threshold


def test_a_selection_that_does_not_fit_the_second_model_is_refused():
    selection = KSparse(15)
    DenseAutoencoder(12, 20, selection)
    with pytest.raises(ValueError, match="k=15, units=10"):
        DenseAutoencoder(12, 10, selection)


def test_one_selection_for_two_levels_is_copied():
    selection = KSparse(2)
    model = DeepAutoencoder(12, [10], 8, sparsity={"level_1": selection, "code": [selection, selection]})
    assert len({id(each) for each in model.selections}) == 3
    assert len({each.name for each in model.selections}) == 3


@pytest.mark.parametrize("make", [ActivityKL, lambda: keras.regularizers.L1(0.1)])
def test_a_penalty_of_another_model_is_copied(make):
    penalty = make()
    first, second = (DenseAutoencoder(12, 8, penalty) for _ in range(2))
    assert first.penalties[0] is penalty
    assert second.penalties[0] is not penalty
    assert type(second.penalties[0]) is type(penalty)
    assert second.penalties[0].get_config() == penalty.get_config()


def test_a_penalty_without_a_config_is_copied_too():
    class Counting(keras.regularizers.Regularizer):
        calls = 0

        def __call__(self, code):
            self.calls += 1
            return ops.sum(code)

    penalty = Counting()
    first, second = (DenseAutoencoder(12, 8, penalty) for _ in range(2))
    before = first.penalties[0].calls
    second(X, training=True)
    assert second.penalties[0] is not penalty
    assert first.penalties[0].calls == before


def test_the_energy_of_sparse_coding_is_copied_as_one():
    penalty = keras.regularizers.L1(0.1)
    SparseCodingAutoencoder(12, 8, penalty)
    second = SparseCodingAutoencoder(12, 8, penalty)
    assert second.penalties[0] is not penalty
    assert second.encoder.get_layer("encode").penalty is second.penalties[0]


def test_one_corruption_for_two_models_draws_for_each():
    noise = MaskingNoise(0.5, seed=3)
    first, second = (DenseAutoencoder(12, 8, corruption=noise) for _ in range(2))
    assert first.corruption is not second.corruption
    assert second.corruption.get_config() == noise.get_config()


def test_a_convolutional_model_copies_too():
    selection = KSparse(2, across="positions")
    first, second = (ConvolutionalAutoencoder((8, 8, 1), 4, selection, strides=strides) for strides in (1, 2))
    assert [model.selections[0].competitors for model in (first, second)] == [64, 16]
