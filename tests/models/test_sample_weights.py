"""Weights act wherever Keras takes them, without a target too. A sample of weight 0 changes no penalty and no code metric."""

import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.metrics import L0, CodeMetric, DeadUnits, HoyerSparsity, MeanRate, Rates
from keras_sae.models import DenseAutoencoder, SparseAutoencoder, StackedAutoencoder
from keras_sae.regularizers import ActivityKL, ActivityLog, ActivityPenalty, ActivityTargetL2, GaussianKL, GroupL21

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(size=(48, 12)).astype("float32")
W = (RANDOM.uniform(size=48) ** 4).astype("float32")  # a few samples count
MORE_X, MORE_W = np.concatenate([X, np.full((16, 12), 50, "float32")]), np.concatenate([W, np.zeros(16, "float32")])
CODE = RANDOM.uniform(0.1, 0.9, size=(6, 4)).astype("float32")
COUNTS = np.array([1, 2, 0, 1, 3, 0])  # integer weights are repetitions
LABELS = np.array([0, 1, 0, 1, 1, 0])

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow: tf.data, tf.distribute")


def autoencoder():
    keras.utils.set_random_seed(0)
    penalties = [ActivityKL(0.1), ActivityLog(), keras.regularizers.L1(0.1), keras.regularizers.L1L2(0.1, 0.2)]
    penalties += [ActivityTargetL2(0.1, sparsity="population")]
    return DenseAutoencoder(12, 20, [KSparse(5), *penalties], activation="sigmoid")


@pytest.fixture(scope="module")
def model():
    model = autoencoder()
    metrics = [L0(), Rates(), MeanRate(), HoyerSparsity(), DeadUnits()]
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=metrics, run_eagerly=True)
    model.adapt(X)  # so that `fit` changes nothing
    return model


def logs_of(model, *data, **options):
    logs = model.evaluate(*data, verbose=0, return_dict=True, **{"batch_size": 64, **options})
    return {name: np.asarray(value) for name, value in logs.items()}


@pytest.mark.parametrize(
    "penalty",
    [
        ActivityKL(0.2),
        ActivityKL(0.2, sparsity="population"),
        ActivityTargetL2(0.2),
        ActivityLog(),
        GaussianKL(),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_an_integer_weight_repeats_a_sample_in_a_penalty(penalty):
    expected = penalty.penalty(np.repeat(CODE, COUNTS, axis=0))
    np.testing.assert_allclose(penalty.penalty(CODE, COUNTS), expected, rtol=1e-5)
    np.testing.assert_allclose(penalty.penalty(CODE, COUNTS / 10), expected, rtol=1e-5)  # a total below 1


def test_an_integer_weight_repeats_a_sample_of_its_class():
    expected = GroupL21().penalty(np.repeat(CODE, COUNTS, axis=0), np.repeat(LABELS, COUNTS))
    for weights in (COUNTS, COUNTS / 10):
        np.testing.assert_allclose(GroupL21().penalty(CODE, LABELS, weights), expected, rtol=1e-5)


@pytest.mark.parametrize("make", [L0, MeanRate, Rates, HoyerSparsity, lambda: DeadUnits(threshold=0.8)])
def test_an_integer_weight_repeats_a_sample_in_a_metric(make):
    weighted, repeated = make(), make()
    weighted.update_state(CODE, COUNTS)
    repeated.update_state(np.repeat(CODE, COUNTS, axis=0))
    np.testing.assert_allclose(weighted.result(), repeated.result(), rtol=1e-5)


def test_weights_act_without_a_target(model):
    expected = logs_of(model, X, X, sample_weight=W)
    assert abs(expected["l1"] - logs_of(model, X)["l1"]) > 1e-4
    for data in ((X,), ([X],), ({"inputs": X},)):
        for name, value in logs_of(model, *data, sample_weight=W).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5)
    for validation in ((X, None, W), (X, X, W)):
        history = model.fit(X, validation_data=validation, validation_batch_size=64, verbose=0).history
        for name, value in expected.items():
            np.testing.assert_allclose(history[f"val_{name}"][0], value, rtol=1e-5)
    on_batch = model.test_on_batch(X, sample_weight=W, return_dict=True)
    np.testing.assert_allclose(on_batch["loss"], expected["loss"], rtol=1e-5)
    assert model.fit(X, sample_weight=np.zeros(48), verbose=0).history["loss"] == [0.0]


@tensorflow_only
def test_weights_in_a_data_set_act_without_a_target(model):
    import tensorflow as tf

    expected = logs_of(model, X, X, sample_weight=W)
    data = tf.data.Dataset.from_tensor_slices((X, W)).batch(48).map(lambda x, w: (x, None, w))
    for name, value in logs_of(model, data, batch_size=None).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


def test_a_sample_of_weight_0_changes_no_penalty_and_no_metric_of_the_code(model):
    few, more = logs_of(model, X, sample_weight=W), logs_of(model, MORE_X, sample_weight=MORE_W)
    # Over batches too, of which the last has no weight at all.
    small, smaller = (logs_of(model, x, sample_weight=w, batch_size=16) for x, w in ((X, W), (MORE_X, MORE_W)))
    for name in set(few) - {"loss", "reconstruction_loss"}:
        np.testing.assert_allclose(more[name], few[name], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(smaller[name], small[name], rtol=1e-5, err_msg=name)
    # Keras divides a weighted loss by the number of samples.
    np.testing.assert_allclose(more["reconstruction_loss"] * 64, few["reconstruction_loss"] * 48, rtol=1e-5)


@tensorflow_only
def test_replicas_weight_as_one_device(two_replicas):
    def trained():
        model = autoencoder()
        model.compile(keras.optimizers.SGD(0.1), "mse", metrics=[MeanRate()])
        history = model.fit(MORE_X, sample_weight=MORE_W, batch_size=64, epochs=2, shuffle=False, verbose=0).history
        return history, model.get_weights()

    alone, weights = trained()
    with two_replicas.scope():
        together, same = trained()
    assert set(alone) == set(together)
    for name in alone:
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, err_msg=name)
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


class Batches(keras.utils.PyDataset):
    """Batches without a target, which some of Keras' adapters cannot read."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.epochs = weights, 0

    num_batches = 3

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return (X[rows], None) if self.weights is None else (X[rows], None, self.weights[rows])

    def on_epoch_end(self):
        self.epochs += 1


def test_weights_in_a_py_dataset_act_without_a_target():
    model = DenseAutoencoder(12, 8, KSparse(3))
    model.compile("sgd", "mse")
    weights = RANDOM.uniform(size=48).astype("float32")
    batches = Batches(weights)
    model.fit(batches, epochs=2, verbose=0, validation_data=Batches(weights))
    assert batches.epochs >= 2  # Keras ends one more when it builds the model
    for given in (None, weights):
        expected = model.evaluate(X, sample_weight=given, batch_size=16, verbose=0)
        np.testing.assert_allclose(model.evaluate(Batches(given), verbose=0), expected, rtol=1e-5)


def test_weights_reach_every_level_of_a_stack():
    stack = StackedAutoencoder(12, [10, 6], [KSparse(2), keras.regularizers.L1(0.1)])
    histories = stack.pretrain(X, sample_weight=np.zeros(48), verbose=0)
    assert [history.history["loss"] for history in histories.values()] == [[0.0], [0.0]]


def test_class_weights_need_labels():
    weights = {0: 0.0, 1: 1.0}
    model = DenseAutoencoder(12, 8)
    model.compile("sgd", "mse")
    for call in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match="`class_weight` weights samples by class labels"):
            call(X, X, class_weight=weights)
    supervised = DenseAutoencoder(12, 8, GroupL21())
    supervised.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="without labels"):
        supervised.fit(X, X, class_weight=weights, verbose=0)
    labels = np.arange(48) % 2
    weighted = supervised.fit(X, labels, class_weight=weights, batch_size=48, verbose=0).history
    by_hand = supervised.fit(X, labels, sample_weight=labels.astype("float32"), batch_size=48, verbose=0).history
    assert weighted["loss"] == pytest.approx(by_hand["loss"])
    both = supervised.fit(X, (X, labels), sample_weight=labels.astype("float32"), batch_size=48, verbose=0).history
    assert both["loss"] == pytest.approx(by_hand["loss"])


class _Unweighted(ActivityPenalty):
    def totals(self, code):
        return keras.ops.sum(code)

    def value(self, totals, positions):
        return totals / positions


class _UnweightedMetric(CodeMetric):
    def tally(self, code):
        pass

    def result(self):
        return 0.0


def test_what_cannot_be_weighted_is_refused_with_weights():
    model = DenseAutoencoder(12, 8, _Unweighted())
    model.compile("sgd", "mse", metrics=[_UnweightedMetric(name="mine")], run_eagerly=True)
    model.fit(X, verbose=0)
    with pytest.raises(ValueError, match="'mine' cannot weight positions"):
        model.fit(X, sample_weight=W, verbose=0)
    model = DenseAutoencoder(12, 8, _Unweighted())  # on JAX, Keras leaves a model without weights where `fit` raises
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="'_unweighted' cannot weight positions"):
        model.fit(X, sample_weight=W, verbose=0)


def masked_autoencoder():
    inputs, codes = keras.Input((5, 3)), keras.Input((5, 4))
    code = keras.layers.Dense(4, "sigmoid", bias_initializer="ones")(keras.layers.Masking()(inputs))
    penalties = [keras.regularizers.L1(0.1), ActivityKL(0.1)]
    return SparseAutoencoder(keras.Model(inputs, code), keras.Model(codes, keras.layers.Dense(3)(codes)), penalties)


@pytest.mark.filterwarnings("ignore:.*does not support masking")  # Keras says so of each model in a model, and masks its loss
def test_padded_steps_count_neither_in_penalties_nor_in_metrics():
    steps = RANDOM.uniform(0.1, 1, size=(6, 5, 3)).astype("float32")
    steps[:3, 3:] = 0
    model = masked_autoencoder()
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[MeanRate()], run_eagerly=True)
    code = keras.ops.convert_to_numpy(model.encoder(steps))
    real = np.concatenate([code[:3, :3].reshape(-1, 4), code[3:].reshape(-1, 4)])
    # On torch, Keras multiplies weights by a mask in place, which fails for one weight per sample, in any model.
    weights = [] if keras.backend.backend() == "torch" else [np.ones(6)]
    weighted = [logs_of(model, steps, sample_weight=each) for each in weights]
    for logs in (logs_of(model, steps), model.fit(steps, verbose=0).history, *weighted):
        np.testing.assert_allclose(np.ravel(logs["l1"]), 0.1 * real.sum() / len(real), rtol=1e-5)
        np.testing.assert_allclose(np.ravel(logs["activity_kl"]), ActivityKL(0.1).penalty(real), rtol=1e-5)
        np.testing.assert_allclose(np.ravel(logs["mean_rate"]), real.mean(), rtol=1e-5)
    error = np.square(steps - keras.ops.convert_to_numpy(model(steps))).mean(axis=-1)
    real_error = np.concatenate([error[:3, :3].ravel(), error[3:].ravel()]).mean()
    np.testing.assert_allclose(logs_of(model, steps)["reconstruction_loss"], real_error, rtol=1e-5)
    if weights:
        only_whole = np.array([0, 0, 0, 1, 1, 1], "float32")
        np.testing.assert_allclose(logs_of(model, steps, sample_weight=only_whole)["mean_rate"], code[3:].mean(), rtol=1e-5)
