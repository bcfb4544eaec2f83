"""FISTA and LISTA, which infer a code from a dictionary."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.layers import FISTA, LISTA, TiedDense
from keras_sae.layers._dictionary import largest_eigenvalue
from keras_sae.regularizers import ActivityKL, ActivityLog

INPUTS, UNITS = 12, 20
L1 = keras.regularizers.L1
layers = pytest.mark.parametrize("layer", [FISTA, LISTA])


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def inputs(rows=30, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, INPUTS)).astype("float32")


def dictionary(seed=1):
    """A random dictionary whose atoms share a direction, so that its Gram matrix is far from the identity."""
    kernel = np.random.default_rng(seed).normal(size=(INPUTS, UNITS)) + 0.3
    return (kernel / np.linalg.norm(kernel, axis=0)).astype("float32")


def made(layer, penalty, steps, kernel=None, **kwargs):
    kernel = dictionary() if kernel is None else kernel
    made = layer(kernel.shape[1], penalty, steps, kernel_initializer=lambda shape, dtype: ops.cast(kernel, dtype), **kwargs)
    made.build((None, kernel.shape[0]))
    return made


def energy(penalty, code, x, kernel):
    """What each code costs, in float64."""
    code = np.asarray(code, "float64")
    charge = penalty.get_config()["l1"] * np.abs(code) if isinstance(penalty, L1) else penalty.weight * np.log1p(code**2)
    return np.square(x - code @ kernel.T).mean(axis=1) + charge.sum(axis=1)


def ista(x, kernel, weight, steps, bound):
    """Plain descent, in float64: `1/2 |x - kernel @ code|^2 + weight * D / 2 * |code|`."""
    code, threshold = np.zeros((len(x), kernel.shape[1])), weight * kernel.shape[0] / 2 / bound
    for _ in range(steps):
        moved = code - (code @ kernel.T - x) @ kernel / bound
        code = np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)
    return code


def test_in_an_orthonormal_dictionary_fista_is_a_soft_threshold():
    # D = 12, weight 0.1: λ = 0.1 * 12 / 2 = 0.6.
    kernel = np.linalg.qr(np.random.default_rng(0).normal(size=(INPUTS, INPUTS)))[0].astype("float32")
    x = inputs()
    code = as_numpy(made(FISTA, L1(0.1), 50, kernel)(x))
    seen = x @ kernel
    expected = np.sign(seen) * np.maximum(np.abs(seen) - 0.6, 0)
    np.testing.assert_allclose(code, expected, atol=1e-5)
    assert (code[np.abs(seen) < 0.59] == 0).all()  # exactly


def test_fista_finds_the_lasso_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, kernel = inputs(), dictionary()
    # scikit-learn's Lasso minimises |y - X w|^2 / (2 n) + alpha |w|: half the energy, so half the weight.
    lasso = linear_model.Lasso(alpha=0.05 / 2, fit_intercept=False, tol=1e-12, max_iter=100_000)
    expected = np.stack([lasso.fit(kernel.astype("float64"), row).coef_.copy() for row in x.astype("float64")])
    assert 0.1 < (expected != 0).mean() < 0.6
    code = as_numpy(made(FISTA, L1(0.05), 400)(x))  # without fresh starts of the momentum, over 1000
    np.testing.assert_allclose(code, expected, atol=1e-4)
    np.testing.assert_array_equal(code != 0, expected != 0)


def test_a_code_of_fista_obeys_the_conditions_of_an_optimum():
    # The correlation of what is left with an atom is λ sign(code) where the atom is used, and at most λ where not.
    x, kernel = inputs(), dictionary()
    code = as_numpy(made(FISTA, L1(0.05), 1000)(x)).astype("float64")
    correlations, bound = (x - code @ kernel.T) @ kernel, 0.05 * INPUTS / 2
    np.testing.assert_allclose(correlations[code != 0], bound * np.sign(code[code != 0]), atol=1e-4)
    assert (np.abs(correlations) <= bound + 1e-4).all()


def test_fista_with_a_smooth_penalty_ends_where_the_slope_is_zero():
    x, kernel, penalty = inputs(), dictionary(), ActivityLog(0.05)
    code = as_numpy(made(FISTA, penalty, 1000)(x)).astype("float64")
    slope = 2 / INPUTS * (code @ kernel.T - x) @ kernel + penalty.weight * 2 * code / (1 + code**2)
    np.testing.assert_allclose(slope, 0, atol=1e-5)
    assert (energy(penalty, code, x, kernel) < np.square(x).mean(axis=1)).all()


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 50])
def test_fista_is_never_behind_plain_descent(steps):
    x, kernel, penalty = inputs(), dictionary(), L1(0.05)
    bound = float(as_numpy(largest_eigenvalue(kernel)))
    plain = energy(penalty, ista(x, kernel, 0.05, steps, bound), x, kernel)
    fast = energy(penalty, as_numpy(made(FISTA, penalty, steps)(x)), x, kernel)
    assert (fast <= plain * (1 + 1e-5)).all()
    if steps == 50:
        best = energy(penalty, as_numpy(made(FISTA, penalty, 500)(x)), x, kernel)
        assert (fast - best).mean() < 0.1 * (plain - best).mean()


@pytest.mark.parametrize("penalty", [L1(1e-4), ActivityLog(1e-4), ActivityLog(30.0)])
@pytest.mark.parametrize("kind", ["one atom many times", "random", "far from unit norm"])
def test_no_dictionary_makes_fista_diverge(penalty, kind):
    x = 100 * inputs()
    kernel = {
        "one atom many times": np.repeat(dictionary()[:, :1], UNITS, axis=1),
        "random": dictionary(),
        "far from unit norm": 1000 * dictionary(),
    }[kind]
    layer = made(FISTA, penalty, 300)
    layer.kernel.assign(kernel)
    assert (energy(penalty, as_numpy(layer(x)), x, kernel) <= np.square(x).mean(axis=1) * (1 + 1e-5)).all()


@pytest.mark.parametrize("shape", [(5, 5), (40, 8), (8, 40), (64, 64), (1, 7)])
def test_the_bound_on_the_eigenvalue_is_safe_and_close(shape):
    for seed in range(5):
        kernel = np.random.default_rng(seed).normal(size=shape).astype("float32") * 10.0**seed
        largest = np.linalg.norm(kernel.astype("float64"), 2) ** 2
        bound = float(as_numpy(largest_eigenvalue(kernel)))
        assert largest * (1 - 1e-5) <= bound <= largest * min(shape) ** (1 / 32) * (1 + 1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_lista_starts_as_plain_descent_in_its_dictionary(steps):
    x, kernel = inputs(), dictionary()
    bound = float(as_numpy(largest_eigenvalue(kernel)))
    code = as_numpy(made(LISTA, L1(0.05), steps)(x))
    np.testing.assert_allclose(code, ista(x, kernel, 0.05, steps, bound), atol=1e-5)
    assert (code == 0).any()


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # only the encoder learns here
def test_lista_learns_to_predict_what_fista_takes_many_steps_for():
    x, kernel = inputs(512), dictionary()
    target = as_numpy(made(FISTA, L1(0.05), 500)(x))
    lista = made(LISTA, L1(0.05), 3)
    model = keras.Sequential([keras.Input((INPUTS,)), lista])
    model.compile(keras.optimizers.Adam(0.003), "mse")
    before = model.evaluate(x, target, verbose=0)
    model.fit(np.tile(x, (60, 1)), np.tile(target, (60, 1)), batch_size=128, verbose=0)
    assert model.evaluate(x, target, verbose=0) < before / 3
    np.testing.assert_allclose(as_numpy(lista.kernel), kernel, rtol=1e-5)  # which is the decoder's
    assert as_numpy(lista.thresholds).min() >= 0


@layers
def test_atoms_have_norm_1_from_the_start(layer):
    made = layer(UNITS, L1(0.1))
    made.build((None, INPUTS))
    np.testing.assert_allclose(np.linalg.norm(as_numpy(made.kernel), axis=0), 1, rtol=1e-5)


@layers
def test_odd_batches(layer):
    made_layer, x = made(layer, L1(0.05), 20), inputs(6)
    code = as_numpy(made_layer(x))
    assert as_numpy(made_layer(x[:0])).shape == (0, UNITS)
    np.testing.assert_allclose(as_numpy(made_layer(x[:1])), code[:1], atol=1e-5)
    assert (as_numpy(made_layer(np.zeros((3, INPUTS), "float32"))) == 0).all()
    positions = as_numpy(made_layer(x.reshape(2, 3, INPUTS)))
    np.testing.assert_allclose(positions, code.reshape(2, 3, UNITS), atol=1e-5)
    x[2, 3] = np.nan
    spoiled = as_numpy(made_layer(x))
    assert np.isnan(spoiled[2]).all()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(spoiled[others], code[others], atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize(("layer", "penalty"), [(FISTA, L1(0.05)), (FISTA, ActivityLog(0.05)), (LISTA, L1(0.05))])
def test_half_precision_is_iterated_in_float32(layer, penalty, dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 by default")
    half = dtype.removeprefix("mixed_")
    x, kernel = (as_numpy(ops.cast(ops.cast(array, half), "float32")) for array in (100 * inputs(), dictionary()))
    codes = []
    for policy in (dtype, "float32"):
        made_layer = made(layer, penalty, 50, dtype=policy)
        made_layer.kernel.assign(kernel)  # rounded already
        codes.append(made_layer(x))
    assert keras.backend.standardize_dtype(codes[0].dtype) == half
    if layer is FISTA:
        rounding = {"float16": 2**-11, "bfloat16": 2**-8, "float64": 1e-4}[half]
        np.testing.assert_allclose(as_numpy(ops.cast(codes[0], "float32")), as_numpy(codes[1]), rtol=rounding, atol=1e-2)
    assert np.isfinite(as_numpy(ops.cast(codes[0], "float32"))).all()


@layers
def test_a_decoder_ties_to_the_dictionary(layer):
    encode = made(layer, L1(0.05), 3)
    decode = TiedDense(encode, use_bias=False)
    np.testing.assert_allclose(as_numpy(decode(np.eye(UNITS, dtype="float32"))), dictionary().T, rtol=1e-5)


@layers
def test_config_brings_it_back(layer):
    made = layer(UNITS, L1(0.1), steps=7, kernel_initializer="orthogonal")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(again) is layer
    assert again.get_config() == made.get_config()


@pytest.mark.parametrize(
    ("layer", "arguments", "message"),
    [
        (FISTA, {"penalty": ActivityKL()}, "ActivityLog"),
        (FISTA, {"penalty": None}, "penalty=None"),
        (LISTA, {"penalty": ActivityLog()}, "Use FISTA"),
        (FISTA, {"units": 0}, "units=0"),
        (LISTA, {"steps": 2.5}, "steps=2.5"),
        (FISTA, {"steps": True}, "steps=True"),
    ],
)
def test_bad_arguments_are_refused(layer, arguments, message):
    with pytest.raises(ValueError, match=message):
        layer(**{"units": 4, "penalty": L1(0.1), **arguments})


def test_an_input_of_unknown_width_is_refused():
    with pytest.raises(ValueError, match="must be known"):
        FISTA(4, L1(0.1))(keras.Input((None,)))
