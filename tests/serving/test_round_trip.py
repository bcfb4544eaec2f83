"""The client in each export, against a stub that responds as TF Serving does."""

import importlib.util
import json
import subprocess
import sys
import urllib.request

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stub(root):
    return load_module(root / "tests" / "serving" / "stub_server.py")


@pytest.fixture(scope="module")
def served(stub, exported):
    return stub.Model("small", exported / "1", {"stable": 1})


@pytest.fixture(params=["rest", "grpc"])
def predict(request, stub, served, exported):
    """`predict_rest` or `predict_grpc` of the client, for the address of the stub."""
    if request.param == "grpc":
        pytest.importorskip("grpc", reason="pip install grpcio")
        pytest.importorskip("tensorflow_serving", reason="pip install --no-deps tensorflow-serving-api")
    client = load_module(exported / "client.py")
    with getattr(stub, request.param)(served) as address:
        yield lambda *arguments, model="small", **options: getattr(client, f"predict_{request.param}")(
            address, model, *arguments, **options
        )


def as_request(inputs):
    return {name: list(array) if array.dtype.kind == "S" else array for name, array in inputs.items()}


def test_the_client_gets_the_golden_outputs_of_every_endpoint(predict, golden):
    for endpoint, arrays in golden.items():
        outputs = predict(endpoint, as_request(arrays["inputs"]), label="stable")
        assert set(outputs) == set(arrays["outputs"])
        for name, expected in arrays["outputs"].items():
            np.testing.assert_allclose(outputs[name], expected, atol=1e-5, err_msg=endpoint)


def test_the_client_raises_the_error_of_the_server(predict, golden):
    inputs = golden["encode"]["inputs"]
    for arguments, options, message in (
        (("embed", inputs), {}, 'Serving signature key "embed" not found'),
        (("encode", {"inputs": np.zeros((4, 2, 30, 1), "float32")}), {}, r"not compatible with expected shape"),
        (("encode", inputs), {"model": "large"}, "Servable not found"),
        (("encode", inputs), {"version": 7}, "Servable not found"),
        (("encode", inputs), {"label": "canary"}, "version label: canary"),
        (("encode_image_bytes", {"image_bytes": [b"no image"]}), {}, "Unknown image file format"),
    ):
        with pytest.raises(RuntimeError, match=message):
            predict(*arguments, **options)


def test_a_nan_comes_back_as_a_nan(predict, golden):
    inputs = golden["anomaly_score"]["inputs"]["inputs"].copy()
    inputs[0, 0, 0] = np.nan
    scores = predict("anomaly_score", {"inputs": inputs})["scores"]
    assert np.isnan(scores[0])
    np.testing.assert_allclose(scores[1:], golden["anomaly_score"]["outputs"]["scores"][1:], rtol=1e-5)


def test_the_client_sends_the_messages_of_tf_serving(stub, served, exported, golden):
    pytest.importorskip("grpc", reason="pip install grpcio")
    apis = pytest.importorskip("tensorflow_serving.apis.predict_pb2", reason="pip install --no-deps tensorflow-serving-api")
    client = load_module(exported / "client.py")
    with stub.grpc(served) as address:
        client.predict_grpc(address, "small", "encode", {"inputs": golden["encode"]["inputs"]["inputs"][:2]}, version=1)
    asked = served.requests[-1]
    example = apis.PredictRequest.FromString((exported / "1/assets.extra/requests/encode.pb").read_bytes())
    assert asked.model_spec.version.value == 1
    asked.model_spec.ClearField("version")
    assert asked == example


def test_example_requests_get_the_golden_outputs(stub, served, exported, golden):
    requests = exported / "1" / "assets.extra" / "requests"
    with stub.rest(served) as address:
        for endpoint, arrays in golden.items():
            for kind in ("row", "columnar"):
                data = (requests / f"{endpoint}.{kind}.json").read_bytes()
                with urllib.request.urlopen(f"{address}/v1/models/small/labels/stable:predict", data) as response:
                    answer = json.load(response)
                names = list(arrays["outputs"])
                if kind == "row":
                    rows = answer["predictions"]
                    columns = {name: [row[name] if len(names) > 1 else row for row in rows] for name in names}
                else:
                    columns = answer["outputs"] if len(names) > 1 else {names[0]: answer["outputs"]}
                for name, expected in arrays["outputs"].items():
                    np.testing.assert_allclose(columns[name], expected[:2], atol=1e-5, err_msg=f"{endpoint} {kind}")


def test_the_client_is_a_command(stub, served, exported, golden, tmp_path):
    import tensorflow as tf

    image = np.arange(30, dtype="uint8").reshape(6, 5, 1)
    (tmp_path / "image.png").write_bytes(tf.io.encode_png(image).numpy())
    np.save(tmp_path / "inputs.npy", image[None].astype("float32") / 255)
    with stub.rest(served) as address:
        codes = []
        for file, endpoint in (("image.png", "encode_image_bytes"), ("inputs.npy", "encode")):
            command = [sys.executable, "client.py", "--inputs", str(tmp_path / file), "--endpoint", endpoint, "--rest", address]
            completed = subprocess.run(
                [*command, "--outputs", str(tmp_path / "out.npz")], cwd=exported, capture_output=True, text=True
            )
            assert completed.returncode == 0, completed.stderr
            assert completed.stdout == "codes: float64 of shape (1, 12)\n"
            codes.append(np.load(tmp_path / "out.npz")["codes"])
    np.testing.assert_allclose(*codes, atol=1e-6)
