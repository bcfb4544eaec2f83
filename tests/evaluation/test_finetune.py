import keras
import numpy as np
import pytest

from keras_sae.evaluation import finetune, transfer
from keras_sae.evaluation._adversarial import AdversarialClassifier
from keras_sae.layers import GridPooling, KSparse
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, StackedAutoencoder


def task(count, seed=0):
    """Which of three directions a point lies along: easy, and more than one class."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, 6, count)
    return (np.eye(3)[labels - 3] + random.normal(scale=0.1, size=(count, 3))).astype("float32"), labels


def test_an_encoder_is_fine_tuned_and_stays_as_it_is():
    model = DenseAutoencoder(3, 12, sparsity=KSparse(4))
    before = model.get_weights()
    result = finetune(model, task(300), task(200, seed=1), epochs=15, learning_rate=0.02, batch_size=50, dropout=0.1)
    assert result["error"] < 2
    low, high = result["interval"]
    assert low <= result["error"] <= high
    assert set(result) == {"error", "interval"}
    for mine, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert all(layer.trainable for layer in model.encoder.layers)


def test_the_softmax_alone_is_measured_first():
    stack = StackedAutoencoder(3, [6, 2])
    options = {"head_epochs": 2, "learning_rate": 0.02, "batch_size": 50}
    result = finetune(stack, task(300), task(200, seed=1), epochs=25, **options)
    assert result["error"] < result["frozen"]["error"]
    frozen = finetune(stack, task(300), task(200, seed=1), epochs=0, **options)
    assert frozen["error"] == frozen["frozen"]["error"] == result["frozen"]["error"]


def test_a_seed_fixes_fine_tuning_and_maps_are_flattened():
    random = np.random.default_rng(0)
    x, labels = random.uniform(size=(60, 6, 6, 1)).astype("float32"), random.integers(0, 2, 60)
    model = ConvolutionalAutoencoder((6, 6, 1), 2, features={"encode": GridPooling(2)})
    one, two = (finetune(model, (x, labels), (x, labels), epochs=1) for _ in range(2))
    assert one == two
    with pytest.raises(ValueError, match="no"):
        finetune(model, (x, None), (x, None))


def test_dropout_reaches_inputs_and_every_level_and_momentum_is_of_sgd(monkeypatch):
    classifiers, fit, of = [], keras.Model.fit, keras.ops.convert_to_numpy
    monkeypatch.setattr(keras.Model, "fit", lambda self, *a, **k: (classifiers.append(self), fit(self, *a, **k)))
    x, labels, nearly_all = task(8)[0], np.arange(8) % 2, 1 - 1e-7
    finetune(DenseAutoencoder(3, 12), (x, labels), (x, labels), epochs=1, input_dropout=nearly_all)
    (whole,) = classifiers
    at_zero = of(whole(np.zeros_like(x)))
    assert np.abs(of(whole(x)) - at_zero).max() > 1e-4
    np.testing.assert_allclose(of(whole(x, training=True)), at_zero, rtol=1e-5)
    stack = StackedAutoencoder(3, [40, 30, 20])
    finetune(stack, (x, labels), (x, labels), epochs=1, dropout=nearly_all, level_dropout=nearly_all, momentum=0.9)
    whole = classifiers[1]
    assert [type(each.optimizer).__name__ for each in classifiers] == ["Adam", "SGD"]
    assert whole.optimizer.momentum == 0.9
    encoder = next(layer for layer in whole.layers if isinstance(layer, keras.Model) and layer.name == stack.features.name)
    bias = of(whole.trainable_weights[-1])
    np.testing.assert_allclose(of(whole(x, training=True)), [np.exp(bias) / np.exp(bias).sum()] * 8, rtol=1e-5)
    dropped = [layer.rate for layer in encoder.layers if isinstance(layer, keras.layers.Dropout)]
    assert dropped == [nearly_all] * 2
    top = of(encoder.layers[-2](np.zeros((8, 30), "float32")))
    np.testing.assert_allclose(of(encoder(x, training=True)), top, rtol=1e-5)


def test_selections_keep_in_training_what_they_keep_at_inference(monkeypatch):
    classifiers, fit, of = [], keras.Model.fit, keras.ops.convert_to_numpy
    monkeypatch.setattr(keras.Model, "fit", lambda self, *a, **k: (classifiers.append(self), fit(self, *a, **k)))
    x, labels = task(8)[0], np.arange(8) % 2
    stack = StackedAutoencoder(3, [8, 6], sparsity=KSparse(2, alpha=2))
    assert np.abs(of(stack.features(x, training=True)) - of(stack.features(x))).max() > 1e-3
    finetune(stack, (x, labels), (x, labels), epochs=1)
    np.testing.assert_allclose(of(classifiers[0](x, training=True)), of(classifiers[0](x)), rtol=1e-5)
    assert all(layer.trainable for layer in stack.encoder.layers)


def test_an_adversarial_input_moves_by_the_sign_of_the_gradient_of_the_loss(monkeypatch):
    classifiers, fit, of = [], keras.Model.fit, keras.ops.convert_to_numpy
    monkeypatch.setattr(keras.Model, "fit", lambda self, *a, **k: (classifiers.append(self), fit(self, *a, **k)))
    x, labels = task(40)
    model = DenseAutoencoder(3, 4, activation="linear")
    options = {"epochs": 1, "batch_size": 20, "dropout": 0.5, "input_dropout": 0.5, "head_epochs": 1}
    finetune(model, (x, labels), (x, labels), **options, adversarial=0.25)
    head, whole = classifiers
    assert not hasattr(head, "adversarial")
    kernel, bias, top, top_bias = (of(weight) for weight in whole.trainable_weights)
    logits = (x @ kernel + bias) @ top + top_bias
    surplus = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(3)[labels - 3]
    expected = x + 0.25 * np.sign(surplus @ top.T @ kernel.T)
    harder = of(whole.adversarial(keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(labels - 3)))
    np.testing.assert_allclose(harder, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"adversarial.*at least 0"):
        finetune(model, (x, labels), (x, labels), adversarial=-0.1)


def test_the_loss_is_the_mean_of_that_of_the_inputs_and_of_adversarial_inputs():
    x, labels = task(8)
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(3, activation="softmax")(inputs)
    plain, adversarial = keras.Model(inputs, outputs), AdversarialClassifier(inputs, outputs, 0.5)
    for each in (plain, adversarial):
        each.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    harder = adversarial.adversarial(keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(labels - 3))
    losses = [plain.evaluate(each, labels - 3, verbose=0) for each in (x, keras.ops.convert_to_numpy(harder))]
    assert losses[1] > losses[0] + 0.1
    assert adversarial.train_on_batch(x, labels - 3) == pytest.approx(np.mean(losses), rel=1e-5)
    assert adversarial.evaluate(x, labels - 3, verbose=0) == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.slow
def test_transfer_is_compared_with_raw_pixels_and_training_from_scratch():
    model = DenseAutoencoder(3, 12, sparsity=KSparse(4))
    said = []
    rows = transfer(
        model,
        task(150),
        task(100, seed=1),
        few_labels=[9],
        draws=2,
        steps=30,
        batch_size=50,
        learning_rate=0.02,
        report=said.append,
        C=[0.1],
    )
    assert [row["labels"] for row in rows] == [9, 150]
    for row in rows:
        assert set(row) == {"labels", "frozen", "raw_pixels", "fine_tuned", "from_scratch"}
        assert all(0 <= row[name]["error"] < 70 for name in row if name != "labels")
    assert rows[1]["raw_pixels"]["error"] < 2
    assert any("From scratch, with 9 labels" in sentence for sentence in said)
    assert f"Fine tuned, with 150 labels: {rows[1]['fine_tuned']['error']:.2f} % wrong." in said


@pytest.mark.slow
def test_transfer_without_steps_trains_no_network_and_gives_the_same_frozen_errors():
    model, said = DenseAutoencoder(3, 12, sparsity=KSparse(4)), []
    options = {"few_labels": [9], "draws": 1, "C": [0.1], "report": said.append}
    rows = transfer(model, task(150), task(100, seed=1), steps=0, **options)
    assert [set(row) for row in rows] == [{"labels", "frozen", "raw_pixels"}] * 2
    assert not any("scratch" in sentence for sentence in said)
    trained = transfer(model, task(150), task(100, seed=1), steps=2, **options)
    assert [row["frozen"] for row in rows] == [row["frozen"] for row in trained]


@pytest.mark.slow
def test_fine_tuning_starts_from_the_logistic_regression():
    model = DenseAutoencoder(3, 12, sparsity=KSparse(4))
    (x, labels), test = task(150), task(300, seed=1)
    noisy = x, np.random.default_rng(2).permutation(labels)  # so that errors are far from 0
    rows = transfer(model, noisy, test, few_labels=[30], draws=2, steps=1, learning_rate=1e-9, C=[0.1])
    assert all(row["frozen"]["error"] > 20 for row in rows)
    for row in rows:
        assert row["fine_tuned"]["error"] == pytest.approx(row["frozen"]["error"], abs=1)
        assert abs(row["from_scratch"]["error"] - row["frozen"]["error"]) > 2
