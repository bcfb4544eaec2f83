"""An exported detector flags what the detector in Python flags."""

import keras
import numpy as np
import pytest

from keras_sae.anomaly import AnomalyDetector
from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.serving import export, export_detector, verify_export

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


@pytest.fixture(scope="module")
def detector():
    """A calibrated detector of a centred model of images in [0, 1] far from zero mean, and images, uint8."""
    random = np.random.default_rng(0)
    images = np.clip(random.normal(170, 20, (1400, 6, 5, 1)) + random.normal(0, 25, (1400, 1, 1, 1)), 0, 255).astype("uint8")
    keras.utils.set_random_seed(0)
    model = DenseAutoencoder((6, 5, 1), 12, sparsity=KSparse(4))
    model.adapt(images)
    return AnomalyDetector(model, score="combined").calibrate(images[:400], 0.1), images[400:]


def load(path):
    import tensorflow as tf

    return tf.saved_model.load(str(path)).signatures


@pytest.mark.slow  # each endpoint is traced three times
def test_flags_of_a_saved_model_are_those_of_python(detector, tmp_path):
    import tensorflow as tf

    detector, images = detector
    path = export(detector, tmp_path / "served", image_inputs=True)
    served = load(path)
    flags, scores, maps = (method(images) for method in (detector.is_anomalous, detector.score_samples, detector.anomaly_map))
    assert 0.03 < flags.mean() < 0.2
    png = [tf.io.encode_png(image).numpy() for image in images]
    for suffix, inputs in (
        ("", {"inputs": images.astype("float32") / 255}),
        ("_images", {"images": images}),
        ("_image_bytes", {"image_bytes": png}),
    ):
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = {name: value.numpy() for name, value in served[f"detect{suffix}"](**inputs).items()}
        assert set(outputs) == {"scores", "is_anomalous", "threshold"}
        np.testing.assert_array_equal(outputs["is_anomalous"], flags)
        np.testing.assert_allclose(outputs["scores"], scores, rtol=1e-4)
        np.testing.assert_allclose(outputs["threshold"], np.full(1000, detector.threshold), rtol=1e-6)
        np.testing.assert_allclose(served[f"anomaly_map{suffix}"](**inputs)["maps"], maps, rtol=1e-3, atol=1e-6)
    unknown = np.full((1, 6, 5, 1), np.nan, "float32")
    assert served["detect"](inputs=tf.constant(unknown))["is_anomalous"].numpy().tolist() == [True]


@pytest.mark.slow  # each format traces and runs the whole graph
@pytest.mark.parametrize(("suffix", "package"), [(".onnx", "onnxruntime"), (".tflite", "ai_edge_litert"), (".xml", "openvino")])
def test_flags_of_other_formats_are_those_of_python(detector, suffix, package, tmp_path):
    pytest.importorskip(package, reason=f"it runs {suffix} files")
    from keras_sae.serving._formats import FORMATS

    detector, images = detector
    path = tmp_path / f"detector{suffix}"
    assert export_detector(detector, path) < 1e-4
    names = ["is_anomalous", "scores", "threshold"]
    flags, scores, threshold = FORMATS[suffix][-1](path, images.astype("float32") / 255, names)
    np.testing.assert_array_equal(flags, detector.is_anomalous(images))
    np.testing.assert_allclose(scores, detector.score_samples(images), rtol=1e-4)
    np.testing.assert_allclose(threshold, np.full(1000, detector.threshold), rtol=1e-6)


@pytest.mark.slow  # two exports, and a process that verifies them
def test_a_preset_with_a_detector_exports_it_and_a_new_version_changes_the_threshold(detector, tmp_path):
    detector, images = detector
    detector.save_to_preset(tmp_path / "preset", examples=images[:4])
    first = export(tmp_path / "preset", tmp_path / "served")
    again = AnomalyDetector.from_preset(tmp_path / "preset").calibrate(images[:600], 0.01)
    second = export(again, tmp_path / "served")
    inputs = images[:8].astype("float32") / 255
    thresholds = [float(load(path)["detect"](inputs=inputs)["threshold"][0]) for path in (first, second)]
    np.testing.assert_allclose(thresholds, [detector.threshold, again.threshold], rtol=1e-6)
    assert len(verify_export(tmp_path / "served")) == 2


def test_what_would_be_silently_wrong_is_refused(detector, tmp_path):
    detector, images = detector
    with pytest.raises(ValueError, match="AnomalyDetector of the exported model"):
        export(DenseAutoencoder((6, 5, 1), 12), tmp_path / "served", detector=detector)
    with pytest.raises(ValueError, match="no threshold yet"):
        export(AnomalyDetector(detector.model), tmp_path / "served")
    # A model of images that somebody centred by hand.
    centred = images.astype("float32") / 255 - 0.5
    by_hand = AnomalyDetector(DenseAutoencoder((6, 5, 1), 12)).calibrate(centred)
    with pytest.raises(ValueError, match=r"the detector was calibrated on go from -0"):
        export(by_hand, tmp_path / "served", image_inputs=True)
    with pytest.raises(ValueError, match="the examples go from -0"):
        export(by_hand.model, tmp_path / "served", image_inputs=True, examples=centred[:4])
    assert list(tmp_path.iterdir()) == []
