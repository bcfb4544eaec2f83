"""Golden examples of an exported version, and the requests made from them."""

import base64
import dataclasses
import json

import numpy as np

from keras_sae.serving._messages import predict_request, prediction_log

ROWS = 2  # samples in an example request; a warm-up record has one


@dataclasses.dataclass(frozen=True)
class Golden:
    """Inputs of a signature and the outputs that the SavedModel gave, as dictionaries of arrays."""

    inputs: dict
    outputs: dict


def golden_examples(signatures, functions, examples):
    """Runs every signature of a loaded SavedModel on `examples`, encoder inputs. Returns a `Golden` by name."""
    import tensorflow as tf

    golden = {}
    for key, signature in signatures.items():
        inputs = {each.name: each.example(examples) for each in signature.inputs}
        outputs = functions[key](**{name: tf.constant(array) for name, array in inputs.items()})
        golden[key] = Golden(inputs, {name: value.numpy() for name, value in outputs.items()})
    return golden


def write_requests(extra, name, golden):
    """Writes `golden.npz`, example requests and warm-up records into a new folder. `name` is that of the model in requests."""
    import tensorflow as tf

    requests = extra / "requests"
    requests.mkdir(parents=True)
    arrays, warm_up = {}, []
    for key, example in golden.items():
        arrays.update({f"{key}/inputs/{each}": _storable(array) for each, array in example.inputs.items()})
        arrays.update({f"{key}/outputs/{each}": array for each, array in example.outputs.items()})
        few = {each: array[:ROWS] for each, array in example.inputs.items()}
        (requests / f"{key}.row.json").write_text(_json(key, few, row=True))
        (requests / f"{key}.columnar.json").write_text(_json(key, few, row=False))
        (requests / f"{key}.pb").write_bytes(predict_request(name, key, few))
        one = {each: array[:1] for each, array in example.inputs.items()}
        warm_up.append(prediction_log(predict_request(name, key, one)))
    np.savez_compressed(extra / "golden.npz", **arrays)
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for record in warm_up:
            writer.write(record)


def _storable(array):
    # NumPy cannot store objects without pickle. The type "S" drops zero bytes at the end, and an encoded image has none.
    return array.astype("S") if array.dtype == object else array


def _json(endpoint, tensors, row):
    """The body of a REST request: a list of samples, or one array per input."""
    columns = {name: _as_json(array) for name, array in tensors.items()}
    if row:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return json.dumps({"signature_name": endpoint, "instances": rows}, allow_nan=False) + "\n"
    return json.dumps({"signature_name": endpoint, "inputs": columns}, allow_nan=False) + "\n"


def _as_json(array):
    if array.dtype == object:
        return [{"b64": base64.b64encode(data).decode()} for data in array]
    if array.dtype == "float32":  # with the digits of a float32, not those of the float64 that Python converts it to
        return array.astype("U").astype("float64").tolist()
    return array.tolist()
