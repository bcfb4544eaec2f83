import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.metrics import L0, CodeMetric, DeadUnits, HoyerSparsity, MeanRate, Rates

CODE = np.array([[0.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.05, 0.0]], "float32")

METRICS = [
    lambda: L0(0.1),
    MeanRate,
    Rates,
    lambda: Rates(12),
    lambda: DeadUnits(threshold=0.4),
    lambda: DeadUnits(12, 0.4),
    HoyerSparsity,
]
PER_UNIT = [Rates, DeadUnits]


@pytest.fixture
def sparse():
    """72 positions of 12 units, many entries zero, of both signs. One position is silent, unit 5 is weak, unit 3 dead."""
    generator = np.random.default_rng(1)
    code = generator.normal(size=(72, 12)) * (generator.uniform(size=(72, 12)) < 0.4)
    code[7], code[:, 5], code[:, 3] = 0, code[:, 5] * 0.01, 0
    return code.astype("float32")


def in_float64(metric, code):
    """What the metric should find, by NumPy in float64."""
    code = np.reshape(code, (-1, np.shape(code)[-1])).astype("float64")
    if isinstance(metric, L0):
        return (abs(code) > metric.threshold).sum(-1).mean()
    if isinstance(metric, MeanRate):
        return code.mean()
    if isinstance(metric, Rates):
        return code.mean(0)
    if isinstance(metric, DeadUnits):
        return (~(abs(code) > metric.threshold).any(0)).sum()
    code = code[(code != 0).any(-1)]
    root = np.sqrt(code.shape[-1])
    return ((root - abs(code).sum(-1) / np.sqrt((code**2).sum(-1))) / (root - 1)).mean()


def value(metric):
    return ops.convert_to_numpy(metric.result())


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (L0(), 1.5),
        (L0(0.1), 1.0),
        (MeanRate(), 3.05 / 8),
        (Rates(4), [0.5, 1.0, 0.025, 0.0]),
        (Rates(), [0.5, 1.0, 0.025, 0.0]),
        (DeadUnits(4), 1),
        (DeadUnits(), 1),
        (DeadUnits(4, 0.1), 2),
        # The first row has one active unit, so 1. In the second l1 / l2 is 1.05 / sqrt(1.0025).
        (HoyerSparsity(), (1 + (2 - 1.05 / np.sqrt(1.0025))) / 2),
    ],
)
def test_by_hand_over_batches_and_positions(metric, expected):
    metric.update_state(CODE)
    np.testing.assert_allclose(value(metric), expected, rtol=1e-6)
    metric.reset_state()
    for row in CODE:  # one position at a time, of another rank
        metric.update_state(row.reshape(1, 1, 1, 4))
    np.testing.assert_allclose(value(metric), expected, rtol=1e-6)
    metric.reset_state()
    again = type(metric).from_config(metric.get_config())
    again.update_state(CODE)
    np.testing.assert_allclose(value(again), expected, rtol=1e-6)


@pytest.mark.parametrize("make", METRICS)
@pytest.mark.parametrize("sizes", [[72], [1] * 72, [30, 0, 5, 37], [0, 72]])
def test_any_split_into_batches_gives_what_float64_does(make, sizes, sparse):
    metric = make()
    for batch in np.split(sparse, np.cumsum(sizes)[:-1]):
        metric.update_state(batch)
    np.testing.assert_allclose(value(metric), in_float64(metric, sparse), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", METRICS)
def test_every_axis_but_the_last_holds_positions(make, sparse):
    metric = make()
    metric.update_state(sparse.reshape(2, 4, 9, 12))
    np.testing.assert_allclose(value(metric), in_float64(metric, sparse), rtol=1e-5, atol=1e-7)


def test_nothing_seen_is_zero_and_all_dead():
    for metric in (L0(), MeanRate(), HoyerSparsity()):
        assert float(metric.result()) == 0
    assert float(DeadUnits(3).result()) == 3
    np.testing.assert_array_equal(value(Rates(3)), [0, 0, 0])


def test_before_its_width_is_known_a_metric_has_no_units():
    for metric, expected in ((DeadUnits(), 0), (Rates(), np.zeros(0))):
        metric.reset_state()
        np.testing.assert_array_equal(value(metric), expected)


@pytest.mark.parametrize("make", PER_UNIT)
def test_the_width_comes_from_the_constructor_a_model_or_the_first_code(make, sparse):
    given, told, seen = make(12), make(), make()
    told.build(12)
    told.build(12)
    assert len(given.variables) == len(told.variables) > len(seen.variables)
    for metric in (given, told, seen):
        metric.update_state(sparse)
        np.testing.assert_allclose(value(metric), in_float64(metric, sparse), rtol=1e-5, atol=1e-7)
        metric.reset_state()
        metric.build(12)
        assert not ops.convert_to_numpy(metric.variables[0]).any()


@pytest.mark.parametrize("make", PER_UNIT)
@pytest.mark.parametrize("first", [lambda metric: metric.build(4), lambda metric: metric.update_state(CODE)])
def test_another_width_is_refused_with_both_numbers(make, first):
    metric = make()
    first(metric)
    for second in (lambda: metric.build(5), lambda: metric.update_state(np.zeros((2, 5)))):
        with pytest.raises(ValueError, match=r"each of 4 units.*Received: units=5\."):
            second()


@pytest.mark.parametrize("make", PER_UNIT)
@pytest.mark.parametrize("units", [0, -1, 2.5, "4", True])
def test_a_width_that_is_none_is_refused(make, units):
    with pytest.raises(ValueError, match="Received: units="):
        make(units)


def test_building_does_nothing_where_no_unit_has_an_entry():
    for metric in (CodeMetric(), L0(), MeanRate(), HoyerSparsity()):
        before = len(metric.variables)
        metric.build(4)
        metric.build(5)
        assert len(metric.variables) == before


@pytest.mark.parametrize("make", [L0, lambda threshold: DeadUnits(4, threshold)])
@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf"), None, "0"])
def test_a_threshold_that_is_none_is_refused(make, threshold):
    with pytest.raises(ValueError, match="Received: threshold="):
        make(threshold)


@pytest.mark.parametrize("make", METRICS)
def test_a_code_needs_a_batch_axis(make):
    with pytest.raises(ValueError, match=r"Received: a code of shape \(12,\)"):
        make().update_state(np.ones(12, "float32"))


def test_half_precision_codes_are_counted_in_float32():
    ones = np.ones((4096, 64), "float16")
    # 4096 * 64 and 4096 * 40 are infinite in float16, and 4097 is 4096.
    for metric, expected in ((L0(), 64), (MeanRate(), 1), (HoyerSparsity(), 0), (Rates(), np.ones(64))):
        metric.update_state(ones)
        np.testing.assert_allclose(value(metric), expected, atol=1e-6)
    for metric in (Rates(dtype="float16"), MeanRate(dtype="float16"), DeadUnits(64, dtype="float16")):
        assert {keras.backend.standardize_dtype(variable.dtype) for variable in metric.variables} == {"float32"}
    rates = Rates(dtype="float16")
    rates.update_state(40 * ones)
    rates.update_state(np.zeros((1, 64), "float16"))
    np.testing.assert_allclose(value(rates), 40 * 4096 / 4097 * np.ones(64), rtol=1e-6)


def test_nan_is_shown():
    code = CODE.copy()
    code[0, 0] = np.nan
    for metric in (L0(), L0(0.1), MeanRate(), HoyerSparsity()):
        metric.update_state(code)
        metric.update_state(CODE)
        assert np.isnan(value(metric)), metric
    alone = HoyerSparsity()
    alone.update_state(np.array([[np.nan, 0, 0]]))
    assert np.isnan(value(alone))
    rates, dead = Rates(), DeadUnits()
    for metric in (rates, dead):
        metric.update_state(code[:1])  # NaN, 2, 0, 0
    np.testing.assert_array_equal(value(rates), [np.nan, 2, 0, 0])
    assert value(dead) == 3  # NaN is no firing


def test_hoyer_by_hand():
    cases = {
        (3, 4, 0, 0): 2 - 7 / 5,
        (3, -4, 0, 0): 2 - 7 / 5,
        (0, 0, -5, 0): 1,
        (2, -2, 2, 2): 0,
        (1, 1): 0,
        (0, 7, 0): 1,
    }
    for code, expected in cases.items():
        metric = HoyerSparsity()
        metric.update_state(np.array([code], "float32"))
        np.testing.assert_allclose(value(metric), expected, atol=1e-6, err_msg=str(code))


@pytest.mark.parametrize("scale", [2e-38, 1e-20, 1e20, 8.5e37])
def test_hoyer_does_not_depend_on_scale(scale):
    metric = HoyerSparsity()
    metric.update_state(np.array([[3, -4, 0, 0], [4, 4, 4, 4]], "float32") * np.float32(scale))
    np.testing.assert_allclose(value(metric), 0.3, rtol=1e-5)


def test_hoyer_leaves_out_positions_where_nothing_fires():
    metric = HoyerSparsity()
    metric.update_state(np.zeros((5, 4), "float32"))
    assert value(metric) == 0
    metric.update_state(np.array([[3, 4, 0, 0], [0, 0, 0, 0], [1e-40, 1e-42, 0, 0]], "float32"))
    np.testing.assert_allclose(value(metric), 0.6, rtol=1e-6)


def test_hoyer_needs_two_units():
    for call in (lambda: HoyerSparsity().update_state(np.ones((3, 1))), lambda: HoyerSparsity().build(1)):
        with pytest.raises(ValueError, match=r"at least two. Received: units=1\."):
            call()


@pytest.mark.parametrize("make", METRICS)
def test_serialized_and_back(make, sparse):
    metric = make()
    metric.update_state(sparse)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    again.update_state(sparse)
    np.testing.assert_allclose(value(again), value(metric), rtol=1e-6)


def test_a_config_keeps_the_arguments_and_a_width_left_open():
    metric = DeadUnits(4, 0.5, name="silent")
    assert metric.get_config() == {"name": "silent", "dtype": "float32", "units": 4, "threshold": 0.5}
    for metric in (DeadUnits(), Rates()):
        metric.build(4)
        type(metric).from_config(metric.get_config()).build(5)


class Coder(keras.Model):
    """A model that logs what it measures on a code: its input."""

    def __init__(self, metrics):
        super().__init__()
        self.dense = keras.layers.Dense(12)
        self.code_metrics = metrics
        for metric in metrics:
            metric.build(12)

    def call(self, inputs):
        return self.dense(inputs)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for metric in self.code_metrics:
            metric.update_state(x)
        return super().compute_metrics(x, y, y_pred, sample_weight)


def test_fit_logs_each_and_rates_as_a_vector(sparse, tmp_path):
    metrics = [L0(), MeanRate(), Rates(), DeadUnits(), HoyerSparsity()]
    model = Coder(metrics)
    model.compile("sgd", "mse")
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = model.fit(sparse, sparse, batch_size=20, epochs=2, verbose=2, callbacks=[logger]).history
    evaluated = model.evaluate(sparse, sparse, batch_size=50, verbose=0, return_dict=True)
    for metric in metrics:
        expected = in_float64(metric, sparse)
        for found in (*history[metric.name], evaluated[metric.name]):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, err_msg=metric.name)
    assert np.shape(history["rates"]) == (2, 12)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's")
def test_two_replicas_find_what_one_device_does(sparse, two_replicas):
    with two_replicas.scope():
        metrics = [L0(0.1), MeanRate(), Rates(), DeadUnits(threshold=0.4), HoyerSparsity()]
        model = Coder(metrics)
        model.compile("sgd", "mse")
    found = model.evaluate(sparse, sparse, batch_size=26, verbose=0, return_dict=True)
    for metric in metrics:
        np.testing.assert_allclose(found[metric.name], in_float64(metric, sparse), rtol=1e-5, atol=1e-7, err_msg=metric.name)
