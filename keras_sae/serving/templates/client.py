"""Requests predictions from TF Serving, by REST or gRPC. Copy what you need.

    python client.py --inputs images.npy --endpoint encode_top_k
    python client.py --inputs images.npy --endpoint encode --grpc localhost:8500 --outputs codes.npz

REST needs only NumPy. gRPC needs TensorFlow, `pip install grpcio` and `pip install --no-deps tensorflow-serving-api`.
"""

import argparse
import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np


def predict_rest(address, model, endpoint, inputs, version=None, label=None, timeout=60):
    """Requests a prediction by REST and returns a dictionary of arrays.

    Args:
        address: For example "http://localhost:8501".
        model: Name of the model.
        endpoint: For example "encode".
        inputs: Dictionary of arrays by name. Pass encoded images, `image_bytes`, as a list of `bytes`.
        version, label: The version to use, by number or by label. By default the highest one that is loaded.
        timeout: Seconds to wait for the server.

    Raises:
        RuntimeError: The server refused the request. The message is the server's.
    """
    url = f"{address}/v1/models/{urllib.parse.quote(model, safe='')}"
    if label is not None:
        url += f"/labels/{urllib.parse.quote(label, safe='')}"
    elif version is not None:
        url += f"/versions/{version}"
    body = {"signature_name": endpoint, "inputs": {name: _as_json(values) for name, values in inputs.items()}}
    outputs = _ask(f"{url}:predict", timeout, body)["outputs"]
    if not isinstance(outputs, dict):  # TF Serving leaves out the name of a single output
        signatures = _ask(f"{url}/metadata", timeout)["metadata"]["signature_def"]["signature_def"]
        (name,) = signatures[endpoint]["outputs"]
        outputs = {name: outputs}
    return {name: np.asarray(values) for name, values in outputs.items()}


def predict_grpc(address, model, endpoint, inputs, version=None, label=None, timeout=60):
    """Does the same by gRPC. The arguments are those of `predict_rest`, with an `address` like "localhost:8500"."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = endpoint
    if label is not None:
        request.model_spec.version_label = label
    elif version is not None:
        request.model_spec.version.value = version
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    with grpc.insecure_channel(address) as channel:
        try:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from error
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def _ask(url, timeout, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{error.code}: {json.load(error)['error']}") from error


def _as_json(values):
    if all(isinstance(value, bytes) for value in values):
        return [{"b64": base64.b64encode(value).decode()} for value in values]
    return np.asarray(values).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", nargs="+", required=True, metavar="FILE", help="a .npy file with an array, or image files")
    parser.add_argument("--endpoint", default="encode", help="(default: %(default)s)")
    parser.add_argument("--input", metavar="NAME", help="name of the input (default: image_bytes for image files, else inputs)")
    parser.add_argument("--model", default="@NAME@", help="(default: %(default)s)")
    parser.add_argument("--rest", default="http://localhost:8501", metavar="URL", help="(default: %(default)s)")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="use gRPC instead of REST")
    parser.add_argument("--version", type=int, help="number of the version to use")
    parser.add_argument("--label", help="label of the version to use")
    parser.add_argument("--outputs", metavar="FILE.npz", help="write the outputs to this file")
    options = parser.parse_args()
    if options.inputs[0].endswith(".npy"):
        inputs = {options.input or "inputs": np.load(options.inputs[0])}
    else:
        inputs = {options.input or "image_bytes": [Path(path).read_bytes() for path in options.inputs]}
    predict, address = (predict_grpc, options.grpc) if options.grpc else (predict_rest, options.rest)
    outputs = predict(address, options.model, options.endpoint, inputs, options.version, options.label)
    for name, array in outputs.items():
        print(f"{name}: {array.dtype} of shape {array.shape}")
    if options.outputs:
        np.savez(options.outputs, **outputs)


if __name__ == "__main__":
    main()
