"""The files of an export, read by other programs: sha256sum, the messages of TF Serving's API, JSON."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tomllib

import keras
import numpy as np
import pytest

from keras_sae.models import DenseAutoencoder
from keras_sae.serving import export
from keras_sae.serving._messages import predict_request, prediction_log, read_log, read_request

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


@pytest.fixture(scope="module")
def protos():
    return pytest.importorskip("tensorflow_serving.apis", reason="needs pip install --no-deps tensorflow-serving-api")


def test_the_folder_of_a_model_has_the_files_for_a_server(exported):
    assert sorted(path.name for path in exported.iterdir()) == [
        "1",
        "README.md",
        "batching_parameters.txt",
        "client.py",
        "models.config",
    ]
    for path in exported.iterdir():
        if path.is_file():
            assert "@" not in path.read_text().replace("-d @1/assets.extra", ""), path  # every placeholder is filled in
    readme = (exported / "README.md").read_text()
    assert "docker run --rm -p 8500:8500 -p 8501:8501" in readme
    assert "docker run --rm --gpus all" in readme
    for file in re.findall(r"[\w./]+/assets\.extra/requests/[\w.]+", readme):
        assert (exported / file).is_file()


def test_a_later_export_does_not_change_files_that_people_edit(copied, model):
    (copied / "models.config").write_text("mine")
    (copied / "client.py").unlink()
    export(model, copied)
    assert (copied / "models.config").read_text() == "mine"
    assert (copied / "client.py").is_file()
    assert (copied / "2" / "saved_model.pb").is_file()


def test_the_readme_of_a_version_lists_its_signatures(exported):
    table = (exported / "1" / "assets.extra" / "README.md").read_text()
    assert "| `encode` | `inputs` float32 (any, 6, 5, 1) | `codes` float32 (any, 12) |" in table
    assert "| `encode_top_k` | `inputs` float32 (any, 6, 5, 1) | `indices` int32 (any, 6), `values` float32 (any, 6) |" in table
    assert "| `anomaly_score_image_bytes` | `image_bytes` string (any) | `scores` float32 (any) |" in table


def test_checksums_are_read_by_sha256sum(copied):
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    command = ["sha256sum", "--check", "--strict", "--quiet", "assets.extra/SHA256SUMS"]
    assert subprocess.run(command, cwd=copied / "1").returncode == 0
    with (copied / "1" / "fingerprint.pb").open("ab") as file:
        file.write(b"x")
    completed = subprocess.run(command, cwd=copied / "1", capture_output=True, text=True)
    assert completed.returncode == 1
    assert "fingerprint.pb: FAILED" in completed.stdout


def test_example_requests_ask_for_the_golden_samples(exported, golden):
    requests = exported / "1" / "assets.extra" / "requests"
    assert len(list(requests.iterdir())) == 3 * len(golden)
    row = json.loads((requests / "encode.row.json").read_text())
    assert row["signature_name"] == "encode"
    assert [list(sample) for sample in row["instances"]] == [["inputs"], ["inputs"]]
    columnar = json.loads((requests / "encode.columnar.json").read_text())
    for values in ([sample["inputs"] for sample in row["instances"]], columnar["inputs"]["inputs"]):
        np.testing.assert_array_equal(np.array(values, "float32"), golden["encode"]["inputs"]["inputs"][:2])
    # The convention of the REST API for bytes.
    encoded = json.loads((requests / "encode_image_bytes.row.json").read_text())["instances"][0]["image_bytes"]
    assert list(encoded) == ["b64"]
    assert base64.b64decode(encoded["b64"]).startswith(b"\x89PNG")


def test_messages_are_those_of_tf_serving(protos):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    tensors = {"inputs": np.arange(6, dtype="float32").reshape(2, 3), "image_bytes": np.array([b"a", b"bc"], object)}
    ours = predict_request("model", "encode", tensors)
    theirs = predict_pb2.PredictRequest()
    theirs.model_spec.name, theirs.model_spec.signature_name = "model", "encode"
    for name, array in tensors.items():
        theirs.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    assert predict_pb2.PredictRequest.FromString(ours) == theirs
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(theirs)
    assert prediction_log_pb2.PredictionLog.FromString(prediction_log(ours)) == log
    for endpoint, read in (read_request(theirs.SerializeToString()), read_log(log.SerializeToString())):
        assert endpoint == "encode"
        for name, array in tensors.items():
            np.testing.assert_array_equal(read[name], array)


def test_warm_up_records_and_requests_are_read_by_tf_serving(protos, exported, golden):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    extra = exported / "1" / "assets.extra"
    asked = []
    for record in tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests")).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        asked.append(request.model_spec.signature_name)
        assert set(request.inputs) == set(golden[asked[-1]]["inputs"])
        for name, tensor in request.inputs.items():
            np.testing.assert_array_equal(
                tf.make_ndarray(tensor).astype(golden[asked[-1]]["inputs"][name].dtype),
                golden[asked[-1]]["inputs"][name][:1],
            )
    assert sorted(asked) == sorted(golden)
    for name in golden:
        request = predict_pb2.PredictRequest.FromString((extra / "requests" / f"{name}.pb").read_bytes())
        assert (request.model_spec.name, request.model_spec.signature_name) == ("small", name)


def test_models_config_is_read_by_tf_serving(protos, exported):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    def parse(text):
        (config,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
        return config

    text = (exported / "models.config").read_text()
    config = parse(text)
    assert (config.name, config.base_path, config.model_platform) == ("small", "/models/small", "tensorflow")
    assert list(config.model_version_policy.specific.versions) == [1]
    assert dict(config.version_labels) == {"stable": 1}
    # The canary of the README.
    canary = re.search(r"```\n +(model_version_policy.*?)```", (exported / "README.md").read_text(), re.DOTALL).group(1)
    before, after = text[: text.index("    model_version_policy")], "  }\n}\n"
    config = parse(before + canary + after)
    assert list(config.model_version_policy.specific.versions) == [1, 2]
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}


def test_batching_parameters_are_fields_that_the_server_knows(exported):
    # No package on PyPI has this message. Its fields are in session_bundle_config.proto.
    text = re.sub(r"#.*", "", (exported / "batching_parameters.txt").read_text())
    fields = dict(re.findall(r"(\w+) \{ value: (\d+) \}", text))
    assert re.sub(r"\w+ \{ value: \d+ \}", "", text).strip() == ""
    assert set(fields) == {"max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches"}
    assert fields["max_batch_size"] == "256"


def test_exporting_does_not_need_tensorflow_serving_api(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    path = export(DenseAutoencoder(4, 3), tmp_path / "a model: mine")
    assert (path / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0
    assert path == tmp_path / "a model: mine" / "1"
    assert 'name: "a_model__mine"' in (path.parent / "models.config").read_text()  # characters that an address can contain


def test_the_page_on_serving_lists_every_endpoint_and_file(root, exported):
    page = (root / "docs" / "serving.md").read_text()
    for name in json.loads((exported / "1" / "assets.extra" / "export.json").read_text())["endpoints"]:
        assert name.endswith(("_images", "_image_bytes")) or f"`{name}`" in page
    for path in (*exported.iterdir(), *(exported / "1" / "assets.extra").iterdir()):
        assert re.search(rf"^ +{re.escape(path.name)}", page, re.MULTILINE), path.name
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r'pip install "\.\[(\w+)\]"', page):
        assert extra in extras
