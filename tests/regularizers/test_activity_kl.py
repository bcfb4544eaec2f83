import keras
import numpy as np
import pytest

from keras_sae.regularizers import ActivityKL


def kl(target, rate):
    target, rate = np.float64(target), np.asarray(rate, "float64")
    return target * np.log(target / rate) + (1 - target) * np.log((1 - target) / (1 - rate))


def test_by_hand():
    # Means are (0.2, 0.5): the first unit is on target and costs nothing.
    penalty = ActivityKL(target=0.2).penalty(np.array([[0.2, 0.8], [0.2, 0.2]], "float32"))
    np.testing.assert_allclose(penalty, 0.2 * np.log(0.2 / 0.5) + 0.8 * np.log(0.8 / 0.5), rtol=1e-5)


def test_lifetime_is_the_sum_over_units_of_the_divergence_of_means(codes):
    expected = 3.0 * kl(0.05, codes.mean(axis=0)).sum()
    np.testing.assert_allclose(ActivityKL(0.05, 3.0).penalty(codes), expected, rtol=1e-5)


def test_population_is_the_mean_over_samples_of_the_divergence_of_their_means(codes):
    expected = 3.0 * kl(0.05, codes.mean(axis=1)).mean()
    np.testing.assert_allclose(ActivityKL(0.05, 3.0, sparsity="population").penalty(codes), expected, rtol=1e-5)


def test_every_axis_but_the_last_holds_positions(codes):
    penalty = ActivityKL(0.1)
    np.testing.assert_allclose(penalty.penalty(codes.reshape(2, 4, 2, 12)), penalty.penalty(codes), rtol=1e-6)


@pytest.mark.parametrize("sparsity", ["lifetime", "population"])
def test_tanh_codes_are_mapped_to_rates(codes, sparsity):
    # A code a in (-1, 1) is the rate (1 + a) / 2, so 2 * codes - 1 with target -0.9 costs what codes with 0.05 cost.
    mapped = ActivityKL(-0.9, sparsity=sparsity, activation_range="tanh").penalty(2 * codes - 1)
    np.testing.assert_allclose(mapped, ActivityKL(0.05, sparsity=sparsity).penalty(codes), rtol=1e-5)


@pytest.mark.parametrize("sparsity", ["lifetime", "population"])
@pytest.mark.parametrize("batch", [1, 16, 64])
def test_the_same_rows_repeated_cost_the_same_in_both_uses(batch, sparsity):
    row = np.random.default_rng(0).uniform(0.1, 0.9, (1, 8)).astype("float32")
    once = ActivityKL(0.05, 2.0, sparsity).penalty(row)
    repeated = np.repeat(row, batch, axis=0)
    np.testing.assert_allclose(ActivityKL(0.05, 2.0, sparsity).penalty(repeated), once, rtol=1e-5)

    layer = keras.layers.Activation("linear", activity_regularizer=ActivityKL(0.05, 2.0, sparsity))
    layer(repeated)
    np.testing.assert_allclose(layer.losses[0], once, rtol=1e-5)


def test_dead_and_saturated_units_cost_a_finite_amount_and_are_pulled_back():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("GradientTape is TensorFlow's")
    code = tf.constant(np.array([[0.0, 1.0], [0.0, 1.0]], "float32"))
    with tf.GradientTape() as tape:
        tape.watch(code)
        penalty = ActivityKL(0.05).penalty(code)
    gradient = tape.gradient(penalty, code).numpy()
    assert np.isfinite(penalty)
    assert np.isfinite(gradient).all()
    assert (gradient[:, 0] < -1000).all()  # a step against the gradient wakes the dead unit
    assert (gradient[:, 1] > 1000).all()


def test_half_precision_is_summed_in_float32():
    code = np.full((2048, 64), 0.9, "float16")
    np.testing.assert_allclose(ActivityKL(0.05).penalty(code), 64 * kl(0.05, np.float16(0.9)), rtol=1e-4)


def test_a_code_without_rows_costs_nothing():
    assert float(ActivityKL(0.05).penalty(np.zeros((0, 4), "float32"))) == 0.0
    assert float(ActivityKL(0.05, sparsity="population").penalty(np.zeros((0, 4), "float32"))) == 0.0


def test_rates_out_of_range_and_nan_do_not_hide():
    assert np.isnan(float(ActivityKL(0.05).penalty(np.full((4, 3), 1.5, "float32"))))
    assert np.isnan(float(ActivityKL(0.05).penalty(np.array([[np.nan, 0.1]], "float32"))))


@pytest.mark.parametrize(
    "arguments",
    [
        {"target": 0.0},
        {"target": 1.0},
        {"target": -0.5},
        {"target": -1.0, "activation_range": "tanh"},
        {"target": float("nan")},
        {"target": "0.1"},
        {"weight": None},
        {"weight": -1.0},
        {"weight": float("inf")},
        {"sparsity": "lifelong"},
        {"activation_range": "relu"},
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments):
    with pytest.raises(ValueError, match="Received"):
        ActivityKL(**arguments)


def test_config_round_trip():
    penalty = ActivityKL(-0.5, 2.0, "population", "tanh")
    again = keras.regularizers.deserialize(keras.regularizers.serialize(penalty))
    assert isinstance(again, ActivityKL)
    assert again.get_config() == penalty.get_config()
