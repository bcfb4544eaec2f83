import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.metrics import PSNR, ExplainedVariance

METRICS = [ExplainedVariance, PSNR]
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's")
compiled = pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="torch.compile needs a C++ compiler"))])  # fmt: skip


def explained_variance(y_true, y_pred, weight=None):
    """By NumPy in float64."""
    y_true, y_pred = np.float64(y_true), np.float64(y_pred)
    weight = np.ones(len(y_true)) if weight is None else np.float64(weight)
    mean = np.average(y_true, axis=0, weights=weight)
    residual, total = (y_true - y_pred) ** 2, (y_true - mean) ** 2
    return 1 - np.tensordot(weight, residual, 1).sum() / np.tensordot(weight, total, 1).sum()


def psnr(y_true, y_pred, weight=None, max_value=1.0):
    """By NumPy in float64."""
    error = ((np.float64(y_true) - np.float64(y_pred)) ** 2).reshape(len(y_true), -1).mean(1)
    return np.average(10 * np.log10(max_value**2 / error), weights=weight)


REFERENCE = {ExplainedVariance: explained_variance, PSNR: psnr}


@pytest.fixture
def images():
    """50 images of 4 by 3 pixels in [0, 1], and reconstructions of them."""
    generator = np.random.default_rng(2)
    y_true = generator.uniform(size=(50, 4, 3, 1)).astype("float32")
    return y_true, (y_true + generator.normal(scale=0.1, size=y_true.shape)).astype("float32")


def measured(metric, *arguments, **keywords):
    metric.update_state(*arguments, **keywords)
    return value(metric)


def value(metric):
    return ops.convert_to_numpy(metric.result())


def column(*numbers):
    return np.array(numbers, "float32")[:, None]


def test_explained_variance_by_hand():
    # About the mean 2 the squares are 1, 0 and 1. The residuals are 0, 0 and 1.
    assert measured(ExplainedVariance(), column(1, 2, 3), column(1, 2, 2)) == 0.5
    assert measured(ExplainedVariance(), column(1, 2, 3), column(2, 2, 2)) == 0
    assert measured(ExplainedVariance(), column(1, 2, 3), column(3, 2, 1)) == -3
    # Two features, of means 2 and 20: the second has a hundred times the variance. 1 - (1 + 100) / (2 + 200).
    two = np.array([[1, 10], [2, 20], [3, 30]], "float32")
    np.testing.assert_allclose(measured(ExplainedVariance(), two, np.add(two, [[0, 0], [0, 10], [1, 0]])), 0.5, rtol=1e-6)
    # A bias counts.
    assert measured(ExplainedVariance(), column(1, 2, 3), column(2, 3, 4)) == 1 - 3 / 2


def test_psnr_by_hand():
    # The mean squared errors are 0.01 and 0.0001, so 20 and 40 decibels. Of their mean it would be 22.97.
    y_true, y_pred = np.array([[0.5, 0.5], [1.0, 0.0]], "float32"), np.array([[0.6, 0.4], [0.99, 0.01]], "float32")
    np.testing.assert_allclose(measured(PSNR(), y_true, y_pred), 30, rtol=1e-5)
    np.testing.assert_allclose(measured(PSNR(255), 255 * y_true, 255 * y_pred), 30, rtol=1e-5)
    np.testing.assert_allclose(measured(PSNR(10), y_true, y_pred), 50, rtol=1e-5)
    np.testing.assert_allclose(measured(PSNR(), y_true, y_pred, sample_weight=[3, 1]), 25, rtol=1e-5)


@pytest.mark.parametrize("make", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [[50], [1] * 50, [0, 20, 0, 7, 23]])
def test_any_split_into_batches_gives_what_float64_does(make, weighted, sizes, images):
    weight = np.random.default_rng(3).uniform(0, 2, 50).astype("float32") if weighted else None
    metric = make()
    for _ in range(2):  # the second time after a reset
        metric.reset_state()
        for rows in np.split(np.arange(50), np.cumsum(sizes)[:-1]):
            metric.update_state(*(part[rows] for part in images), sample_weight=weight[rows] if weighted else None)
        np.testing.assert_allclose(value(metric), REFERENCE[make](*images, weight), rtol=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_a_weight_counts_as_repetition(make, images):
    y_true, y_pred = images
    weight = np.arange(50) % 3
    repeated = measured(make(), np.repeat(y_true, weight, 0), np.repeat(y_pred, weight, 0))
    for shape in ((50,), (50, 1), (50, 1, 1, 1)):
        weighted = measured(make(), y_true, y_pred, sample_weight=weight.reshape(shape))
        np.testing.assert_allclose(weighted, repeated, rtol=1e-5)
    np.testing.assert_allclose(measured(make(), y_true, y_pred, 2.0), measured(make(), y_true, y_pred), rtol=1e-6)


@pytest.mark.parametrize("make", METRICS)
@pytest.mark.parametrize("rank", [2, 3, 5])
def test_any_rank(make, rank, images):
    y_true, y_pred = (part.reshape((50, 12) + (1,) * (rank - 2)) for part in images)
    np.testing.assert_allclose(measured(make(), y_true, y_pred), REFERENCE[make](*images), rtol=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_a_target_may_lack_a_last_axis_of_size_1(make, images):
    y_true, y_pred = images
    np.testing.assert_allclose(measured(make(), y_true[..., 0], y_pred), REFERENCE[make](*images), rtol=1e-5)
    np.testing.assert_allclose(
        measured(make(), y_true[:, 0, 0, 0], y_pred[:, 0, 0]), REFERENCE[make](y_true[:, :1, :1], y_pred[:, :1, :1]), rtol=1e-5
    )


@pytest.mark.parametrize(("mean", "deviation"), [(100, 1), (1e4, 1), (1, 1e-3), (0, 1)])
@pytest.mark.parametrize("batch", [7, 1000])
def test_explained_variance_stands_a_large_mean(mean, deviation, batch):
    # The textbook's sum of squares less the square of the sum is off by up to 1e-3 for the first case, by 0.1 for others.
    generator = np.random.default_rng(4)
    y_true = generator.normal(mean, deviation, (1000, 8)).astype("float32")
    y_pred = (y_true + generator.normal(0, 0.3 * deviation, y_true.shape)).astype("float32")
    metric = ExplainedVariance()
    for start in range(0, 1000, batch):
        metric.update_state(y_true[start : start + batch], y_pred[start : start + batch])
    np.testing.assert_allclose(value(metric), explained_variance(y_true, y_pred), atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, -1 / 3])
def test_data_without_variance_leave_nothing_to_explain(constant):
    y_true = np.full((30, 3), constant, "float32")
    for size in (30, 7):
        exact, wrong = ExplainedVariance(), ExplainedVariance()
        for start in range(0, 30, size):
            batch = y_true[start : start + size]
            exact.update_state(batch, batch)
            wrong.update_state(batch, batch + 1)
        assert value(exact) == 1
        assert value(wrong) == 0
        assert float(exact.squares) == 0  # not even rounding errors


@pytest.mark.parametrize("padding", [5, 1000])
@pytest.mark.parametrize("first", [1, 7, 30])  # samples in the first batch, of which one is padding
def test_samples_without_weight_do_not_count_as_variance(padding, first):
    y_true = np.full((30, 3), 0.1, "float32")
    y_true[0] = padding
    weight = np.ones(30)
    weight[0] = 0
    exact, wrong = ExplainedVariance(), ExplainedVariance()
    for rows in (slice(first), slice(1, None)):
        exact.update_state(y_true[rows], y_true[rows], weight[rows])
        wrong.update_state(y_true[rows], y_true[rows] + 1, weight[rows])
    assert value(exact) == 1
    assert value(wrong) == 0


def test_nothing_seen_is_zero():
    for metric in (ExplainedVariance(), PSNR()):
        metric.reset_state()
        assert value(metric) == 0
        assert measured(metric, np.zeros((0, 3)), np.zeros((0, 3))) == 0
        assert measured(metric, np.ones((2, 3)), np.zeros((2, 3)), sample_weight=[0, 0]) == 0


def test_a_perfect_reconstruction(images):
    y_true, y_pred = images
    assert measured(ExplainedVariance(), y_true, y_true) == 1
    assert measured(PSNR(), y_true, y_true) == np.inf
    metric = PSNR()
    metric.update_state(y_true[:1], y_true[:1])
    assert measured(metric, y_true, y_pred) == np.inf
    # But for samples of weight 0, such as padding.
    both = np.concatenate([y_true, y_true]), np.concatenate([y_pred, y_true])
    weight = np.repeat([1, 0], 50)
    np.testing.assert_allclose(measured(PSNR(), *both, weight), psnr(*images), rtol=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_nan_is_shown(make, images):
    for which in (0, 1):
        broken = [part.copy() for part in images]
        broken[which][3, 0, 0, 0] = np.nan
        metric = make()
        metric.update_state(*broken)
        assert np.isnan(measured(metric, *images))
        metric.reset_state()
        assert np.isfinite(measured(metric, *images))
    constant = np.ones((4, 2), "float32")
    assert np.isnan(measured(make(), constant, constant * np.nan))


@pytest.mark.parametrize("make", METRICS)
def test_half_precision_is_summed_in_float32(make, images):
    half = [(100 * np.tile(part, (200, 1, 1, 1))).astype("float16") for part in images]
    expected = REFERENCE[make](*half)
    for metric in (make(), make(dtype="float16")):
        np.testing.assert_allclose(measured(metric, *half), expected, rtol=1e-5)
        assert {keras.backend.standardize_dtype(variable.dtype) for variable in metric.variables} == {"float32"}
    # One in half precision, as of a mixed-precision model.
    mixed = measured(make(), half[0].astype("float32"), half[1])
    np.testing.assert_allclose(mixed, expected, rtol=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_integers_and_float64_are_taken(make, images):
    y_true, y_pred = images
    whole = (255 * y_true).astype("uint8")
    np.testing.assert_allclose(measured(make(), whole, 255 * y_pred), REFERENCE[make](whole, 255 * y_pred), rtol=1e-5)
    np.testing.assert_allclose(measured(make(), y_true.astype("float64"), y_pred), REFERENCE[make](*images), rtol=1e-5)


@pytest.mark.parametrize("make", METRICS)
def test_shapes_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError, match=r"a target of shape \(2, 3\), and a reconstruction of shape \(2, 4\)"):
        make().update_state(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"a target of shape \(2, 1\), and a reconstruction of shape \(2, 4\)"):
        make().update_state(np.ones((2, 1)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"a target of shape \(2, 3\), and a reconstruction of shape \(2, 3, 3\)"):
        make().update_state(np.ones((2, 3)), np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=r"Received: a reconstruction of shape \(2,\)"):
        make().update_state(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"Received: sample_weight of shape \(2, 3\)"):
        make().update_state(np.ones((2, 3)), np.ones((2, 3)), sample_weight=np.ones((2, 3)))


def test_explained_variance_keeps_to_one_shape_and_must_know_it():
    metric = ExplainedVariance()
    metric.update_state(np.ones((2, 3)), np.ones((2, 3)))
    metric.build((3,))
    with pytest.raises(ValueError, match=r"of shape \(3,\). Received: samples of shape \(4,\)"):
        metric.update_state(np.ones((2, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"Received: samples of shape \(None, 3\)"):
        ExplainedVariance().build((None, 3))


@pytest.mark.parametrize("max_value", [0, -1, float("nan"), float("inf"), None, "1"])
def test_psnr_needs_a_largest_value(max_value):
    with pytest.raises(ValueError, match="Received: max_value="):
        PSNR(max_value)


@pytest.mark.parametrize("metric", [ExplainedVariance(), ExplainedVariance("r2"), PSNR(), PSNR(255, name="db")])
def test_serialized_and_back(metric, images):
    expected = measured(metric, *images)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    np.testing.assert_allclose(measured(again, *images), expected, rtol=1e-6)


def small_model():
    layers = keras.layers
    return keras.Sequential([keras.Input((4, 3, 1)), layers.Flatten(), layers.Dense(12), layers.Reshape((4, 3, 1))])


@compiled
def test_in_fit_and_evaluate(jit_compile, images):
    y_true = 100 + images[0]  # the pivot matters
    model = small_model()
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[ExplainedVariance(), PSNR(101)], jit_compile=jit_compile)
    history = model.fit(y_true, y_true, batch_size=16, epochs=2, verbose=0, validation_data=(y_true[:9], y_true[:9])).history
    for rows, logs in ((50, history), (9, {name[4:]: logged for name, logged in history.items() if name[:4] == "val_"})):
        y_pred = model.predict(y_true[:rows], verbose=0)
        for epoch in range(2):
            expected = explained_variance(y_true[:rows], y_pred)
            np.testing.assert_allclose(logs["explained_variance"][epoch], expected, rtol=1e-4)
            np.testing.assert_allclose(logs["psnr"][epoch], psnr(y_true[:rows], y_pred, max_value=101), rtol=1e-4)
    fresh = small_model()
    fresh.compile(loss="mse", weighted_metrics=[ExplainedVariance(), PSNR(101)], jit_compile=jit_compile)
    weight = np.arange(50) % 4
    shaped = weight.reshape(50, 1, 1)  # as Keras' losses want it
    found = fresh.evaluate(y_true, y_true, batch_size=30, sample_weight=shaped, verbose=0, return_dict=True)
    y_pred = fresh.predict(y_true, verbose=0)
    np.testing.assert_allclose(found["explained_variance"], explained_variance(y_true, y_pred, weight), rtol=1e-4)
    np.testing.assert_allclose(found["psnr"], psnr(y_true, y_pred, weight, 101), rtol=1e-4)


def test_callbacks_know_that_more_is_better(images):
    for metric in (ExplainedVariance(), PSNR()):
        model = small_model()
        model.compile("sgd", "mse", metrics=[metric])
        stop = keras.callbacks.EarlyStopping(monitor=metric.name)
        model.fit(images[0], images[0], verbose=0, callbacks=[stop])
        assert stop.monitor_op(2, 1)


def test_a_compiled_model_is_saved_with_them(tmp_path, images):
    model = small_model()
    model.compile("sgd", "mse", metrics=[ExplainedVariance(), PSNR(255)])
    expected = model.evaluate(*images, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras").evaluate(*images, verbose=0, return_dict=True)
    for name, number in expected.items():
        np.testing.assert_allclose(found[name], number, rtol=1e-5)


@tensorflow_only
@pytest.mark.parametrize("batch_size", [48, 16, 14])
def test_two_replicas_fit_as_one_device_does(batch_size, two_replicas, images):
    y_true = 100 + images[0][:49]  # the last batch is split into 1 and 0, or 4 and 3
    with two_replicas.scope():
        model = small_model()
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[ExplainedVariance(), PSNR(101)])
    history = model.fit(y_true, y_true, batch_size=batch_size, shuffle=False, epochs=2, verbose=0).history
    y_pred = model.predict(y_true, verbose=0)
    np.testing.assert_allclose(history["explained_variance"], [explained_variance(y_true, y_pred)] * 2, rtol=1e-4)
    np.testing.assert_allclose(history["psnr"], [psnr(y_true, y_pred, max_value=101)] * 2, rtol=1e-4)


@tensorflow_only
@pytest.mark.parametrize("shares", [[(20, 0), (10, 20)], [(0, 0), (0, 20), (30, 0)], [(1, 2), (40, 7)]])
def test_replicas_may_have_different_shares(shares, two_replicas, images):
    y_true, y_pred = 100 + images[0], 100 + images[1]
    with two_replicas.scope():
        metrics = [ExplainedVariance(), PSNR(101)]
        metrics[0].build((4, 3, 1))
    seen = 0
    for sizes in shares:
        rows = np.split(np.arange(seen, seen + sum(sizes)), [sizes[0]])
        seen += sum(sizes)
        parts = two_replicas.experimental_distribute_values_from_function(
            lambda context, rows=rows: tuple(part[rows[context.replica_id_in_sync_group]] for part in (y_true, y_pred))
        )
        for metric in metrics:
            two_replicas.run(metric.update_state, args=parts)
    assert seen == 50
    assert (
        abs(ops.convert_to_numpy(metrics[0].pivot) - 100.5).max() < 0.6
    )  # near the mean, and not the sum of what replicas hold
    np.testing.assert_allclose(value(metrics[0]), explained_variance(y_true, y_pred), rtol=1e-6)
    np.testing.assert_allclose(value(metrics[1]), psnr(y_true, y_pred, max_value=101), rtol=1e-4)


@tensorflow_only
def test_a_replica_without_a_weighted_sample_has_no_say_in_the_pivot(two_replicas):
    with two_replicas.scope():
        metric = ExplainedVariance()
        metric.build((1,))
    y_true, weight = [column(100, 102), column(5, 7)], [np.float32([1, 1]), np.float32([0, 0])]
    parts = two_replicas.experimental_distribute_values_from_function(
        lambda context: tuple(part[context.replica_id_in_sync_group] for part in (y_true, y_true, weight))
    )
    two_replicas.run(metric.update_state, args=parts)
    assert ops.convert_to_numpy(metric.pivot) == 101
    assert value(metric) == 1
