"""A test double of TF Serving: the Predict API of one exported version, by REST and gRPC, on the loopback interface.

Requests and responses are TF Serving's own messages or, for REST, its documented JSON.
"""

import base64
import contextlib
import http.server
import json
import re
import threading

import numpy as np


class Model:
    """One version of a model. `requests` keeps the requests that it received."""

    def __init__(self, name, version, labels):
        import tensorflow as tf

        self.name, self.number, self.labels = name, int(version.name), labels
        self.signatures = tf.saved_model.load(str(version)).signatures
        self.requests = []

    def find(self, name, number=None, label=None):
        if name != self.name or (number is not None and int(number) != self.number):
            raise LookupError(f"Servable not found for request: Specific({name}, {number})")
        if label is not None and self.labels.get(label) != self.number:
            raise ValueError(f"Unrecognized servable version label: {label}")

    def specs(self, endpoint):
        if endpoint not in self.signatures:
            raise ValueError(f'Serving signature key "{endpoint}" not found.')
        return self.signatures[endpoint].structured_input_signature[1]

    def run(self, endpoint, tensors):
        import tensorflow as tf

        specs = self.specs(endpoint)
        if set(tensors) != set(specs):
            raise ValueError(f"input size does not match signature: {sorted(tensors)}, expected {sorted(specs)}")
        try:
            outputs = self.signatures[endpoint](**{name: tf.constant(array) for name, array in tensors.items()})
        except (tf.errors.InvalidArgumentError, TypeError) as error:
            raise ValueError(str(error)) from error
        return {name: value.numpy() for name, value in outputs.items()}

    def answer_rest(self, path, body):
        """The status and the JSON of the response."""
        found = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(:predict|/metadata)?", path)
        try:
            self.find(*found.group(1, 2, 3))
            if found.group(4) == "/metadata":
                return 200, self.metadata()
            return 200, self.predict_rest(body)
        except LookupError as error:
            return 404, {"error": str(error)}
        except (ValueError, KeyError) as error:
            return 400, {"error": str(error)}

    def metadata(self):
        signatures = {
            endpoint: {
                "inputs": {name: {} for name in self.specs(endpoint)},
                "outputs": {name: {} for name in function.structured_outputs},
            }
            for endpoint, function in self.signatures.items()
        }
        return {"model_spec": {"name": self.name}, "metadata": {"signature_def": {"signature_def": signatures}}}

    def predict_rest(self, body):
        endpoint = body.get("signature_name", "serving_default")
        specs = self.specs(endpoint)
        row = "instances" in body
        if row:
            instances = body["instances"]
            named = all(isinstance(instance, dict) and set(instance) == set(specs) for instance in instances)
            columns = {name: [instance[name] if named else instance for instance in instances] for name in specs}
        else:
            columns = body["inputs"] if isinstance(body["inputs"], dict) else dict.fromkeys(specs, body["inputs"])
        self.requests.append((endpoint, columns))
        outputs = self.run(endpoint, {name: _from_json(columns[name], spec) for name, spec in specs.items()})
        columns = {name: value.tolist() for name, value in outputs.items()}
        if not row:
            return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
        if len(columns) == 1:
            return {"predictions": next(iter(columns.values()))}
        return {"predictions": [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]}


def _from_json(values, spec):
    if spec.dtype.name == "string":
        return np.array([base64.b64decode(value["b64"]) for value in values], object)
    try:
        return np.array(values, spec.dtype.as_numpy_dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Failed to process element: {error}") from error


@contextlib.contextmanager
def rest(model):
    """Serves by REST. Yields the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, body):
            status, answer = model.answer_rest(self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            self.answer(None)

        def do_POST(self):
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def grpc(model):
    """Serves by gRPC. Yields the address."""
    from concurrent import futures

    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            model.requests.append(request)
            spec = request.model_spec
            choice = spec.WhichOneof("version_choice")
            try:
                model.find(
                    spec.name,
                    spec.version.value if choice == "version" else None,
                    spec.version_label if choice == "version_label" else None,
                )
                tensors = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                outputs = model.run(spec.signature_name or "serving_default", tensors)
            except LookupError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            response = predict_pb2.PredictResponse()
            response.model_spec.name = spec.name
            response.model_spec.version.value = model.number
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
