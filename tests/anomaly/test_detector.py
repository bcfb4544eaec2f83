import pickle

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.anomaly import AnomalyDetector
from keras_sae.anomaly._scores import local_statistics, saved_score
from keras_sae.anomaly._statistics import gaussian_of
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder, SparseAutoencoder

OFF = np.array([[5, -5, 5, -5, 5]], "float32")  # far from the plane


def test_scores_by_hand(axes):
    model, plane = axes
    x = plane(64, 2)
    errors = np.square(x - keras.ops.convert_to_numpy(model(x)))
    detector = AnomalyDetector(model, batch_size=50)
    np.testing.assert_allclose(detector.score_samples(x), errors.mean(axis=1), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(detector.anomaly_map(x), errors, rtol=1e-3, atol=1e-8)
    detector.threshold = 0.5
    np.testing.assert_allclose(detector.decision_function(x), 0.5 - detector.score_samples(x))
    relative = AnomalyDetector(model, score="relative").score_samples(x)
    np.testing.assert_allclose(relative, errors.mean(axis=1) / np.sqrt(np.square(x).mean(axis=1)), rtol=1e-3, atol=1e-8)


def test_the_code_score_is_a_mahalanobis_distance(axes):
    model, plane = axes
    training, x = plane(2000, 3), plane(10, 4)
    detector = AnomalyDetector(model, score="code").calibrate(plane(200, 5), training=training)
    codes = keras.ops.convert_to_numpy(model.encoder(training))
    centred = keras.ops.convert_to_numpy(model.encoder(x)) - codes.mean(axis=0)
    expected = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(codes.T)), centred) / 2
    np.testing.assert_allclose(detector.score_samples(x), expected, rtol=1e-2)
    assert detector.calibration.samples == 200
    assert detector.calibration.statistics_samples == 2000


def test_patches_and_maps_of_images(images):
    model, striped = images
    x = striped(120)
    detector = AnomalyDetector(model, score="patch", patch=3).calibrate(x[:110], 0.02)
    defect = x[110:].copy()
    defect[:, 2:5, 1:4] = 255 - defect[:, 2:5, 1:4]
    maps = detector.anomaly_map(defect)
    assert maps.shape == (10, 8, 6)
    np.testing.assert_allclose(maps.max(axis=(1, 2)), detector.score_samples(defect), rtol=1e-5)
    inside = maps[:, 2:5, 1:4].mean(axis=(1, 2))
    assert (inside > maps[:, [0, 7]].mean(axis=(1, 2))).all()
    errors = np.square(defect / 255 - keras.ops.convert_to_numpy(model(defect / np.float32(255)))).mean(axis=-1)
    np.testing.assert_allclose(maps[:, 3, 2], errors[:, 2:5, 1:4].mean(axis=(1, 2)), rtol=1e-4)
    # uint8 pixels and floats in [0, 1] are the same to it.
    np.testing.assert_allclose(detector.anomaly_map(defect.astype("float32") / 255), maps, rtol=1e-6)


def test_local_statistics_by_hand():
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 2)).astype("float32")
    made = keras.ops.convert_to_numpy(local_statistics(x))
    for first, side in ((0, 3), (4, 5)):
        window = x[1, 3 - side // 2 : 4 + side // 2, 3 - side // 2 : 4 + side // 2]
        np.testing.assert_allclose(made[1, 3, 3, first : first + 2], window.mean(axis=(0, 1)), atol=1e-6)
        np.testing.assert_allclose(made[1, 3, 3, first + 2 : first + 4], np.log(window.var(axis=(0, 1)) + 1e-4) / 2, atol=1e-5)


def test_a_flat_spot_on_a_texture_shows_in_local_statistics():
    random = np.random.default_rng(0)
    model = ConvolutionalAutoencoder((25, 24, 1), [4], strides=2, activation="linear", kernel_size=3)
    x = random.normal(size=(120, 25, 24, 1)).astype("float32")
    spots = x[100:].copy()
    spots[:, 8:14, 10:16] *= 0.1
    detector = AnomalyDetector(model, score="texture").calibrate(x[:100], 0.05)
    assert detector.is_anomalous(spots).mean() > 0.9
    maps = detector.anomaly_map(spots)
    assert maps.shape == (20, 25, 24)
    np.testing.assert_allclose(maps.max(axis=(1, 2)), detector.score_samples(spots), rtol=1e-5)
    assert maps[:, 9:13, 11:15].mean() > 2 * maps[:, :6, :6].mean()
    with pytest.raises(ValueError, match="no neighbours"):
        AnomalyDetector(DenseAutoencoder((2, 4, 1), 3), score="texture")


def test_a_texture_detector_of_before_reads_the_activity_of_units():
    # Arrays as they were saved: statistics of units, without the spread of local statistics.
    codes = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype("float32")
    old = saved_score("texture", 3, gaussian_of(codes.reshape(-1, 3), 128))
    scores, maps = old(None, codes, None, None), old.maps(np.zeros((5, 8, 6)), codes, None)
    assert maps.shape == (5, 8, 6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(maps).max(axis=(1, 2)), keras.ops.convert_to_numpy(scores), rtol=1e-6)


def test_maps_of_series_say_which_steps():
    inputs = keras.Input((32, 1))
    detector = AnomalyDetector(keras.Model(inputs, keras.layers.AveragePooling1D(3, 1, "same")(inputs)))
    x = np.zeros((1, 32, 1), "float32")
    x[0, 20] = 1
    maps = detector.anomaly_map(x)
    assert maps.shape == (1, 32)
    assert np.abs(maps.argmax() - 20) <= 2
    with pytest.raises(ValueError, match="it has no `encoder`"):
        AnomalyDetector(detector.model, score="code")


def test_the_default_score_suits_the_inputs(axes, images, tmp_path):
    inputs = keras.Input((6, 5))
    encoder = keras.Model(inputs, keras.layers.Flatten()(inputs))
    code = keras.Input((30,))
    # Reconstructions of another shape than the inputs cannot be compared with them.
    without_errors = SparseAutoencoder(encoder, keras.Model(code, keras.layers.Dense(4)(code)))
    models = {"patch": images[0], "reconstruction": axes[0], "code": without_errors}
    assert {name: AnomalyDetector(model).score_name for name, model in models.items()} == {name: name for name in models}
    assert AnomalyDetector(images[0]).get_params()["score"] is None
    # A detector that was saved with another score keeps it.
    detector = AnomalyDetector(DenseAutoencoder((6, 5, 1), 3), score="reconstruction")
    detector.threshold = 1.0
    detector.save_to_preset(tmp_path / "preset")
    assert AnomalyDetector.from_preset(tmp_path / "preset").score_name == "reconstruction"


@pytest.mark.parametrize("score", ["reconstruction", "relative", "code", "combined"])
def test_the_false_positive_rate_holds_on_new_data(axes, score):
    model, plane = axes
    detector = AnomalyDetector(model, score=score).calibrate(plane(4000, 6), 0.05)
    assert detector.is_anomalous(plane(4000, 7)).mean() == pytest.approx(0.05, abs=0.02)
    low, high = detector.calibration.interval
    assert low < 0.05 < high
    assert score == "code" or detector.predict(OFF).tolist() == [-1]
    assert detector.predict(np.zeros((1, 5))).tolist() == [1]


def test_the_detector_as_a_model_gives_the_same_flags_and_flags_nan(axes):
    model, plane = axes
    detector = AnomalyDetector(model, score="combined").calibrate(plane(300, 6), 0.1)
    x = plane(100, 16)
    outputs = {name: keras.ops.convert_to_numpy(value) for name, value in detector.as_model()(x).items()}
    assert set(outputs) == {"scores", "is_anomalous", "threshold", "maps"}
    np.testing.assert_array_equal(outputs["is_anomalous"], detector.is_anomalous(x))
    np.testing.assert_allclose(outputs["threshold"], np.full(100, detector.threshold, "float32"))
    np.testing.assert_allclose(outputs["maps"], detector.anomaly_map(x), rtol=1e-4, atol=1e-7)
    missing = detector.as_model().predict(np.full((2, 5), np.nan, "float32"), verbose=0)
    assert missing["is_anomalous"].tolist() == [True, True]


def test_auto_takes_the_score_that_tells_mixed_rows(axes):
    # Mixed rows leave the plane, and their codes are not unusual.
    model, plane = axes
    assert AnomalyDetector(model, score="auto").calibrate(plane(1000, 8), 0.05).score_name in ("reconstruction", "combined")


def test_a_detector_is_saved_in_a_preset_and_loaded(axes, tmp_path):
    model, plane = axes
    detector = AnomalyDetector(model, score="combined", batch_size=32).calibrate(plane(300, 9), 0.05)
    x = plane(50, 10)
    detector.save_to_preset(tmp_path / "preset", metadata={"note": "mine"}, examples=x[:3])
    loaded = AnomalyDetector.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(loaded.score_samples(x), detector.score_samples(x))
    assert (loaded.threshold, loaded.calibration) == (detector.threshold, detector.calibration)
    assert loaded.get_params()["batch_size"] == 32
    # Calibrated again for another rate, it goes into the same preset, whose other files stay.
    before = presets.read_metadata(tmp_path / "preset")
    (tmp_path / "preset" / "notes.txt").write_text("mine")
    loaded.calibrate(plane(300, 9), 0.1).save_to_preset(tmp_path / "preset")
    after = presets.read_metadata(tmp_path / "preset")
    assert after["note"] == "mine"
    assert after["detector"]["false_positive_rate"] == 0.1
    assert (tmp_path / "preset" / "notes.txt").read_text() == "mine"
    changed = {name for name, digest in after["files"].items() if before["files"][name] != digest}
    assert changed == {"detector.json"}
    assert isinstance(SparseAutoencoder.from_preset(tmp_path / "preset"), DenseAutoencoder)


def test_a_damaged_or_missing_detector_is_refused(axes, tmp_path):
    model, plane = axes
    model.save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match="has no detector"):
        AnomalyDetector.from_preset(tmp_path / "preset")
    AnomalyDetector(model).calibrate(plane(100, 0)).save_to_preset(tmp_path / "preset")
    path = tmp_path / "preset" / "detector.json"
    path.write_text(path.read_text().replace('"threshold": ', '"threshold": 1'))
    with pytest.raises(ValueError, match="damaged"):
        AnomalyDetector.from_preset(tmp_path / "preset")


def test_it_is_the_last_step_of_a_pipeline(axes):
    pipeline = pytest.importorskip("sklearn.pipeline", reason="it is scikit-learn's")
    from sklearn.base import clone, is_outlier_detector
    from sklearn.preprocessing import StandardScaler

    _, plane = axes
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder(5, 2, activation="linear", tied=True)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    model.optimizer.build(model.trainable_variables)  # Keras warns where it copies an optimizer that is not
    detector = AnomalyDetector(model, epochs=4, false_positive_rate=0.05)
    assert is_outlier_detector(detector)
    steps = clone(pipeline.make_pipeline(StandardScaler(), detector)).fit(1000 + 7 * plane(500, 11).astype("float64"))
    assert steps.predict(1000 + 7 * np.r_[np.zeros((1, 5)), 3 * OFF]).tolist() == [1, -1]
    assert (steps.decision_function(1000 + 21 * OFF) < 0).all()
    assert steps[-1].calibration.samples == 100
    assert not detector.is_calibrated
    again = pickle.loads(pickle.dumps(steps))
    np.testing.assert_allclose(again.score_samples(1000 + 7 * OFF), steps.score_samples(1000 + 7 * OFF), rtol=1e-6)
    assert not detector.set_params(score="code").is_calibrated
    with pytest.raises(ValueError, match="Did you mean 'score'"):
        detector.set_params(scores="code")


def test_data_sets_are_read_in_batches(axes):
    tf = pytest.importorskip("tensorflow", reason="tf.data is TensorFlow's")
    model, plane = axes
    x = plane(300, 12)
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(300))).shuffle(300, seed=0).batch(64)
    for score in ("reconstruction", "combined"):
        by_array, by_data = (AnomalyDetector(model, score=score, batch_size=50).calibrate(each, 0.05) for each in (x, data))
        # In another order the same samples teach the statistics.
        assert by_data.threshold == pytest.approx(by_array.threshold, rel=1e-4)
    with pytest.raises(ValueError, match="without an end"):
        by_data.calibrate(data.repeat())
    with pytest.raises(TypeError, match="more than once"):
        by_data.calibrate(iter_of(x))


def iter_of(x):
    yield x


def test_bad_input_is_refused_in_a_sentence(axes):
    model, plane = axes
    x = plane(200, 13)
    detector = AnomalyDetector(model)
    for read in (lambda: detector.threshold, lambda: detector.predict(x), lambda: detector.save_to_preset("unused")):
        with pytest.raises(ValueError, match="no threshold yet"):
            read()
    with pytest.raises(ValueError, match="learns statistics"):
        AnomalyDetector(model, score="code").score_samples(x)
    with pytest.raises(ValueError, match=r"at least 99 normal samples .* Received: 0"):
        detector.calibrate(x[:0])
    with pytest.raises(ValueError, match=r"at least 99 normal samples .* Received: 0"):
        detector.calibrate([])
    with pytest.raises(ValueError, match="they are equal, or too few"):
        AnomalyDetector(model, score="code").calibrate(np.ones((200, 5)), 0.1)
    with pytest.raises(ValueError, match="All samples in `normal` are equal"):
        detector.calibrate(np.ones((200, 5)))
    holes = x.copy()
    holes[7, 2] = np.nan
    for method in (detector.calibrate, detector.score_samples, detector.anomaly_map):
        with pytest.raises(ValueError, match=r"must be finite.* first in its row 7"):
            method(holes)
    with pytest.raises(ValueError, match=r"shape \('n', 5\)\. Received: shape \(200, 4\)"):
        detector.calibrate(x[:, :4])
    with pytest.raises(ValueError, match=r"Add a batch axis: `x\[None\]`"):
        detector.score_samples(x[0])
    for rate in (0, 1, -0.1, "0.1", True, np.nan):
        with pytest.raises(ValueError, match="`false_positive_rate` is the share of normal samples"):
            detector.calibrate(x, rate)
    with pytest.raises(ValueError, match="The range of other integers"):
        detector.calibrate(x.astype("int32"))
    with pytest.raises(ValueError, match="must hold numbers"):
        detector.calibrate(x.astype(str))
    with pytest.raises(ValueError, match="Did you mean 'combined'"):
        AnomalyDetector(model, score="combine")
    with pytest.raises(ValueError, match="columns have no neighbours"):
        AnomalyDetector(model, score="patch")
    with pytest.raises(TypeError, match="must be an autoencoder"):
        AnomalyDetector("mnist_dense_l1")
    assert not detector.is_calibrated


def test_a_refused_calibration_leaves_the_detector_as_it_was(axes):
    model, plane = axes
    detector = AnomalyDetector(model, score="combined").calibrate(plane(300, 14), 0.05)
    threshold, scores = detector.threshold, detector.score_samples(OFF)
    with pytest.raises(ValueError, match="twice as many"):
        detector.calibrate(plane(150, 15), 0.01)
    assert detector.threshold == threshold
    np.testing.assert_array_equal(detector.score_samples(OFF), scores)
