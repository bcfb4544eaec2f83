"""The probe: what it minimises, chooses and reads."""

import sys

import keras
import numpy as np
import pytest

from keras_sae.evaluation import bootstrap_interval, encode, features_on_disk, probe, probe_encoder, readout
from keras_sae.evaluation._dictionaries import k_means, start_from
from keras_sae.evaluation._few_rows import FewRows
from keras_sae.evaluation._logistic_regression import compress, fit
from keras_sae.evaluation._probe import Probe, _best_from_the_middle, balanced
from keras_sae.layers import GridPooling, KSparse, WinnerTakeAll
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, SparseCodingAutoencoder, StackedAutoencoder


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_fit_is_that_of_scikit_learn(share):
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    x = (random.normal(size=(300, 12)) * (random.uniform(size=(300, 12)) < share)).astype("float32")
    labels = (x[:, :3] + random.normal(size=(300, 3))).argmax(axis=1)
    assert isinstance(compress(x), np.ndarray) == (share == 1)
    weights = fit(compress(x), labels, C=0.5, iterations=500)
    theirs = LogisticRegression(C=0.5, max_iter=500, tol=1e-8).fit(x.astype("float64"), labels)
    np.testing.assert_allclose(weights[:-1].T, theirs.coef_, atol=8e-3)  # where no gradient exceeds 1e-4


def test_the_interval_is_nearly_the_binomial_one():
    wrong = np.repeat([1.0, 0.0], [100, 900])
    low, high = bootstrap_interval(wrong)
    deviation = np.sqrt(0.1 * 0.9 / 1000)
    assert (low, high) == pytest.approx((0.1 - 1.96 * deviation, 0.1 + 1.96 * deviation), abs=0.002)
    assert bootstrap_interval(wrong) == [low, high]


def test_draws_that_differ_widen_the_interval():
    alike = np.tile(np.repeat([1.0, 0.0], [100, 900]), (4, 1))
    other = np.stack([np.repeat([1.0, 0.0], [count, 1000 - count]) for count in (0, 50, 150, 200)])
    spans = [np.ptp(bootstrap_interval(values)) for values in (alike, other)]
    assert spans[0] == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / 1000), rel=0.1)
    assert spans[1] > 2 * spans[0]


def test_few_labels_are_as_many_of_each_class():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    drawn = balanced(labels, 31, np.random.default_rng(0))
    assert len(set(drawn)) == 31
    assert sorted(np.bincount(labels[drawn])) == [10, 10, 11]


def test_a_walk_ends_where_the_error_rises():
    errors, tried = {1: 5, 2: 4, 3: 6, 4: 7, 5: 8}, []

    def attempt(value, start):
        tried.append((value, start))
        return errors[value], value, value

    assert _best_from_the_middle([1, 2, 3, 4, 5], attempt, "zero") == (4, 2, 2)
    assert tried == [(3, "zero"), (4, 3), (2, 3), (1, 2)]


def test_the_few_labels_alone_are_fitted_to():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    x = np.eye(3)[labels] + random.normal(scale=0.3, size=(300, 3))
    probe = Probe(x, labels, validation=100, C=[0.1])
    many, few = probe.measure(x, labels)["error"], probe.measure_with(6, x, labels)["error"]
    assert many < few < 60


@pytest.fixture
def few_of_many_features():
    """60 examples of 200 uncentred features, three classes that overlap."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = random.normal(size=(60, 200)) + 5
    x[np.arange(60), labels] += 3
    return x.astype("float32"), labels


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_few_labels_are_fitted_exactly(few_of_many_features, mirrored, compressed):
    LogisticRegression = pytest.importorskip("sklearn.linear_model").LogisticRegression
    x, labels = few_of_many_features
    below = [x, x[:, ::-1]] if mirrored else [x]
    both, y = np.concatenate(below), np.tile(labels, len(below))
    rows = FewRows(pytest.importorskip("scipy.sparse").csr_array(both) if compressed else both, labels, classes=3)
    expected = LogisticRegression(C=0.3, tol=1e-9, max_iter=10_000).fit(both.astype("float64"), y)
    weights = rows.of_features(rows.fit(0.3))
    np.testing.assert_allclose(weights[:-1].T, expected.coef_, atol=1e-4)
    probabilities = expected.predict_proba(both.astype("float64"))
    np.testing.assert_allclose(softmax(both @ weights[:-1] + weights[-1]), probabilities, atol=1e-3)
    # The last fifth of the images, 12, is held out with its mirror images.
    kept = np.arange(len(y)) % 60 < 48
    expected = LogisticRegression(C=0.3, tol=1e-9, max_iter=10_000).fit(both[kept].astype("float64"), y[kept])
    likelihoods = expected.predict_log_proba(x[48:].astype("float64"))[np.arange(12), labels[48:]]
    assert rows.loss(rows.fit(0.3, held_out=True)) == pytest.approx(-likelihoods.mean(), rel=1e-3)


@pytest.mark.parametrize("compressed", [False, True])
def test_many_rows_stay_as_they_are_and_are_fitted_alike(few_of_many_features, compressed, monkeypatch):
    x, labels = few_of_many_features
    both = np.concatenate([x, x[:, ::-1]])
    both = pytest.importorskip("scipy.sparse").csr_array(both) if compressed else both
    exact = FewRows(both, labels, 3)
    monkeypatch.setattr(sys.modules["keras_sae.evaluation._few_rows"], "_MOST", 119)
    as_they_are = FewRows(both, labels, 3, iterations=2000)
    fits = [(rows.of_features(rows.fit(0.3)), rows.loss(rows.fit(0.3, held_out=True))) for rows in (exact, as_they_are)]
    np.testing.assert_allclose(fits[0][0][:-1], fits[1][0][:-1], atol=0.02)  # where no gradient exceeds 1e-4
    assert fits[0][1] == pytest.approx(fits[1][1], rel=0.02)


def test_the_penalty_has_the_lowest_cross_entropy():
    # So far apart that no penalty misclassifies an example: by errors, all are alike, and the first one tried would be taken.
    labels = np.arange(300) % 3
    x = 100 * np.eye(3)[labels] + np.random.default_rng(0).normal(size=(300, 3))
    found = Probe(x, labels, validation=100, C=[0.003, 0.03, 0.3, 3.0])
    for figures in (found.measure(x, labels), found.measure_with(30, x, labels, C=[0.003, 0.03, 0.3, 3.0])):
        assert (figures["error"], figures["C"]) == (0, 3.0)


def test_rounding_moves_no_figure_of_few_labels(few_of_many_features):
    x, labels = few_of_many_features
    rounded = x * (1 + np.random.default_rng(1).uniform(-3e-7, 3e-7, x.shape)).astype("float32")
    test = np.random.default_rng(2).normal(size=(3000, 200)) + 5
    test[np.arange(3000), np.arange(3000) % 3] += 3
    mine, other = (Probe(v, labels, 20, [0.1]).measure_with(30, test, np.arange(3000) % 3) for v in (x, rounded))
    assert mine["C"] == other["C"]
    assert mine["error"] == pytest.approx(other["error"], abs=0.01)


def test_rows_that_are_all_the_same_tell_nothing():
    weights = FewRows(np.zeros((6, 4), "float32"), np.array([0, 1, 0, 1, 0, 1]), classes=2)
    assert not weights.of_features(weights.fit(1.0)).any()


def softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def selected(z, keep):
    order = -np.sort(-z, axis=-1)
    return order[:, keep - 1 : keep], order[:, keep : keep + 1]


def test_codes_are_read_before_the_selection_and_selected_again():
    model = DenseAutoencoder(12, 20, sparsity=KSparse(3, alpha=2))
    x = np.random.default_rng(0).normal(size=(30, 12)).astype("float32")
    z = encode(readout(model, layer="encode"), x)
    assert (z < 0).any()
    np.testing.assert_array_equal(encode(readout(model), x), encode(model, x))
    np.testing.assert_array_equal(encode(readout(model, layer="encode", rectify=True), x), np.maximum(z, 0))
    least, largest_left_out = selected(z, 8)
    np.testing.assert_array_equal(encode(readout(model, layer="encode", keep=8), x), np.where(z >= least, z, 0))
    softly = encode(readout(model, layer="encode", keep=8, subtract=True), x)
    np.testing.assert_allclose(softly, np.maximum(z - largest_left_out, 0), atol=1e-6)
    assert (np.count_nonzero(softly, axis=1) == 8).all()


def test_maps_are_pooled():
    model = ConvolutionalAutoencoder((12, 12, 1), 4, WinnerTakeAll(spatial=True), kernel_size=3, strides=1)
    x = np.random.default_rng(0).normal(size=(5, 12, 12, 1)).astype("float32")
    maps = encode(readout(model, layer="encode"), x)
    pooled = encode(readout(model, layer="encode", pool={"size": 6}), x)
    np.testing.assert_array_equal(pooled, maps.reshape(5, 2, 6, 2, 6, 4).max(axis=(2, 4)))
    assert encode(readout(model, layer="encode", pool={"size": 6, "strides": 4}), x).shape == (5, 3, 3, 4)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ({"layer": "encde"}, "layers are .*encode"),
        ({"keep": 21}, "at most 20"),
        ({"keep": 20, "subtract": True}, "at most 19"),
        ({"keep": 1.5}, "Received: keep=1.5"),
        ({"subtract": True}, "without `keep`"),
        ({"pool": {"size": 2}}, "code of maps"),
    ],
)
def test_what_cannot_be_read_is_refused(encoding, message):
    with pytest.raises(ValueError, match=message):
        readout(DenseAutoencoder(12, 20), **encoding)


def test_the_probe_reads_the_features_of_the_model_and_no_test_data(sample):
    images, labels = sample
    features = {"encode": keras.layers.ReLU()}
    model = DenseAutoencoder((28, 28, 1), 30, sparsity=KSparse(2), features=features)
    before = model.get_weights()
    options = {"C": [0.03, 0.1], "validation": 80, "few_labels": [], "cache": {}}
    train, test = (images[:200], labels[:200]), (images[200:], labels[200:])
    result = probe_encoder(model, train, test, **options)
    codes = (encode(model.features, x) for x in (images[:200], images[200:]))
    own = probe(next(codes), labels[:200], next(codes), labels[200:], validation=80, C=[0.03, 0.1])
    assert {name: result[name] for name in own} == own
    shuffled = probe_encoder(model, train, (test[0], np.random.default_rng(0).permutation(test[1])), **options)
    assert shuffled["C"] == result["C"]
    for mine, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, other)


def task():
    """Images of three classes, half of them where a stripe is mirrored."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 150)
    x = random.normal(scale=0.3, size=(150, 4, 6, 1)).astype("float32")
    x[np.arange(150), labels, :3] += 1
    return x, labels


def doubled(batch):
    flat = np.asarray(batch).reshape(len(batch), -1)
    return np.concatenate([flat, np.maximum(flat, 0)], axis=1)


def test_features_on_disk_are_classified_as_in_memory(monkeypatch):
    monkeypatch.setattr(sys.modules["keras_sae.evaluation._feature_file"], "_MOST_ENTRIES", 48 * 7)  # 7 rows at a time
    x, labels = task()
    expected = Probe(doubled(x[:100]), labels[:100], validation=30)
    with features_on_disk(doubled, x[:100]) as train, features_on_disk(doubled, x[100:]) as test:
        assert (train.shape, len(train[10:25]), train[np.array([3])].shape) == ((100, 48), 15, (1, 48))
        found = Probe(train, labels[:100], validation=30)
        assert found.C == expected.C
        assert found.measure(test, labels[100:]) == expected.measure(doubled(x[100:]), labels[100:])
        few = found.measure_with(12, test, labels[100:], draws=2)
        assert few == expected.measure_with(12, doubled(x[100:]), labels[100:], draws=2)
        path = train.path
    assert not path.exists()


def test_many_batches_are_computed_by_a_compiled_model(monkeypatch):
    rows = sys.modules["keras_sae.evaluation._feature_file"]
    monkeypatch.setattr(rows, "_EAGER", 1)
    monkeypatch.setattr(rows, "batches_of", lambda function, x: np.array_split(x, 3))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    compiled, predict = [], model.predict_on_batch
    monkeypatch.setattr(model, "predict_on_batch", lambda batch: compiled.append(len(batch)) or predict(batch))
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    np.testing.assert_allclose(np.concatenate(list(rows.rows_of(model, x))), x @ model.layers[0].get_weights()[0], atol=1e-6)
    assert compiled == [3, 2]


def test_mirror_images_are_trained_on_and_never_held_out():
    x, labels = task()
    with features_on_disk(doubled, x, flips=True, held_out=50) as features:
        rows = np.concatenate(list(features.parts()))
        mirrored = x[:, :, ::-1]
        order = [doubled(part) for part in (x[:100], mirrored[:100], x[100:], mirrored[100:])]
        np.testing.assert_array_equal(rows, np.concatenate(order))
        found = Probe(features, labels, validation=50, mirrored=True)
    twice, again = np.concatenate(order[:2]), np.concatenate([labels[:100], labels[:100]])
    scale = rows.std(dtype="float64").astype("float32")
    weights = fit(twice / scale, again, found.C)
    wrong = found.wrong(weights, order[2], labels[100:])
    assert found.validation_error == pytest.approx(100 * wrong.mean(), abs=2.1)  # one image: another start of the fit


def test_the_probe_of_a_model_takes_mirror_images_and_wide_features(monkeypatch):
    monkeypatch.setattr(sys.modules["keras_sae.evaluation._probe_encoder"], "_MOST_IN_MEMORY", 100)
    x, labels = task()
    model = ConvolutionalAutoencoder((4, 6, 1), 3, kernel_size=3, strides=1, features=GridPooling(2))
    options = {"C": [0.1], "few_labels": [9], "draws": 2, "validation": 30}
    plain = probe_encoder(model, (x[:100], labels[:100]), (x[100:], labels[100:]), **options)
    flipped = probe_encoder(model, (x[:100], labels[:100]), (x[100:], labels[100:]), flips=True, **options)
    assert plain["features"] == flipped["features"] == 12
    assert flipped["raw_pixels"] != plain["raw_pixels"]
    with pytest.raises(ValueError, match="must be images"):
        probe_encoder(DenseAutoencoder(5, 9), (np.zeros((9, 5)), labels[:9]), (np.zeros((9, 5)), labels[:9]), flips=True)


def test_baselines_of_the_same_data_are_taken_from_the_cache(sample):
    images, labels = sample
    said, cache = [], {}
    train, test = (images[:200], labels[:200]), (images[200:], labels[200:])
    options = {"C": [0.1], "few_labels": [20], "cache": cache, "report": said.append}
    one, other = (probe_encoder(DenseAutoencoder((28, 28, 1), 20), train, test, **options) for _ in range(2))
    assert [one[name] == other[name] for name in ("raw_pixels", "pca")] == [True, True]
    assert sum("raw pixels" in sentence for sentence in said) == 1
    probe_encoder(DenseAutoencoder((28, 28, 1), 21), (images[:199], labels[:199]), test, **options)
    assert sum("raw pixels" in sentence for sentence in said) == 2


def test_pca_is_as_wide_as_the_data_at_most():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(60, 5)).astype("float32"), random.integers(0, 2, 60)
    result = probe_encoder(DenseAutoencoder(5, 9), (x, labels), (x, labels), C=[0.1], few_labels=[])
    assert (result["features"], result["pca"]["components"]) == (9, 5)
    with pytest.raises(ValueError, match="no"):
        probe_encoder(DenseAutoencoder(5, 9), (x, None), (x, None))


def test_random_features_are_those_of_a_seed():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(60, 5)).astype("float32"), random.integers(0, 2, 60)
    model = DenseAutoencoder(5, 9)
    trained = DenseAutoencoder.from_config(model.get_config())
    trained.set_weights([weight + 1 for weight in model.get_weights()])
    options = {"C": [0.1], "few_labels": []}
    results = [probe_encoder(each, (x, labels), (x, labels), **options)["random"] for each in (model, trained)]
    assert results[0] == results[1]


def test_k_means_finds_directions_whatever_their_sign():
    random = np.random.default_rng(0)
    rows = np.repeat([[3.0, 0, 0], [0, 2, 0], [0, -2, 0]], 20, axis=0) + random.normal(size=(60, 3)) * 0.01
    centres = k_means(rows, [[2, 1, 0], [1, 2, 0], [0, 0, -1]], both_signs=True)
    np.testing.assert_allclose(centres, [[1, 0, 0], [0, 1, 0], [0, 0, -1]], atol=0.01)
    by_value = k_means(rows, [[2, 1, 0], [0, 1, 0], [1, -2, 0]])
    np.testing.assert_allclose(by_value, [[1, 0, 0], [0, 1, 0], [0, -1, 0]], atol=0.01)


def test_a_model_is_compared_with_other_dictionaries_of_its_size():
    x, labels = task()
    model = ConvolutionalAutoencoder((4, 6, 1), 3, kernel_size=3, strides=1, features=GridPooling(2))
    options = {"C": [0.1], "few_labels": [9], "draws": 2, "validation": 30, "baselines": ["samples", "k_means"]}
    figures = probe_encoder(model, (x[:100], labels[:100]), (x[100:], labels[100:]), **options)
    assert figures["samples"].keys() == figures["k_means"].keys() < figures.keys()
    assert "random" not in figures
    kernels = []
    for kind in ("samples", "k_means"):
        start_from(kind, model, x)
        kernels.append(keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel).reshape(9, 3))
        np.testing.assert_allclose(np.linalg.norm(kernels[-1], axis=0), 1, rtol=1e-5)
    assert not np.allclose(*kernels)


@pytest.mark.parametrize("kind", ["samples", "k_means"])
def test_units_of_other_dictionaries_respond_to_what_deviates_from_the_mean(kind):
    x = np.random.default_rng(0).uniform(3, 4, size=(500, 6)).astype("float32")
    model = DenseAutoencoder(6, 5, center=False)
    start_from(kind, model, x)
    encode = model.encoder.get_layer("encode")
    kernel, bias = keras.ops.convert_to_numpy(encode.kernel), keras.ops.convert_to_numpy(encode.bias)
    np.testing.assert_allclose(x.mean(axis=0) @ kernel + bias, np.zeros(5), atol=0.02)
    start_from(kind, model, x - x.mean(axis=0))
    assert not keras.ops.convert_to_numpy(encode.bias).any()


def test_upper_levels_start_from_what_the_levels_below_give():
    model = StackedAutoencoder(4, [4, 3], activation="relu")
    x = 5 * np.eye(4, dtype="float32")
    start_from("samples", model, x)
    first, second = (keras.ops.convert_to_numpy(layer.kernel) for layer in model.encoder.layers if hasattr(layer, "kernel"))
    # An image of one pixel, less the mean of the four, of norm 1: sqrt(3) / 2 in this pixel, -sqrt(3) / 6 in the others.
    high, low = 3**0.5 / 2, -(3**0.5) / 6
    np.testing.assert_allclose(np.sort(first, axis=0), [[low] * 4] * 3 + [[high] * 4], atol=0.02)
    assert sorted(first.argmax(axis=0)) == [0, 1, 2, 3]
    # It activates one unit of the first level, so each sample of the second one is one such unit.
    np.testing.assert_allclose(np.sort(second, axis=0), [[low] * 3] * 3 + [[high] * 3], atol=0.02)
    with pytest.raises(ValueError, match="has none"):
        start_from("k_means", SparseCodingAutoencoder(4, 8, keras.regularizers.L1(0.1)), x)
