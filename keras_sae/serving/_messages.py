"""The messages of TF Serving's Predict API that an export contains: requests and warm-up records.

The package tensorflow-serving-api defines them, but it requires `tensorflow` and cannot be installed next to
`tensorflow-cpu`. So this module declares them again, with the public names and field numbers. Tensors are declared as bytes,
which have the same encoding as messages. This module needs neither keras_sae nor Keras.
"""

import functools

# Message: field: (number, type). `PredictRequest.inputs` is a map, which protobuf encodes as a list of keys and values.
_MESSAGES = {
    "PredictionLog": {"predict_log": (6, "PredictLog")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "InputsEntry")},
    "ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
    "InputsEntry": {"key": (1, "string"), "value": (2, "bytes")},
}


@functools.cache
def _classes():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="predict.proto", package="tensorflow.serving", syntax="proto3")
    for message, fields in _MESSAGES.items():
        added = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = added.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if name == "inputs" else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".tensorflow.serving.{kind}"
            else:
                field.type = kinds.TYPE_STRING if kind == "string" else kinds.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()  # tensorflow-serving-api registers the same names in the default pool
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}")) for name in _MESSAGES
    }


def predict_request(model_name, endpoint, tensors):
    """A serialized `PredictRequest` with a dictionary of arrays."""
    import tensorflow as tf

    request = _classes()["PredictRequest"]()
    request.model_spec.name = model_name
    request.model_spec.signature_name = endpoint
    for name, array in tensors.items():
        request.inputs.add(key=name, value=tf.make_tensor_proto(array).SerializeToString(deterministic=True))
    return request.SerializeToString()


def prediction_log(request):
    """A serialized `PredictionLog` with a serialized request: a record of `tf_serving_warmup_requests`."""
    log = _classes()["PredictionLog"]()
    log.predict_log.request.ParseFromString(request)
    return log.SerializeToString()


def read_request(data):
    """The endpoint and the dictionary of arrays in a serialized `PredictRequest`."""
    return _read(_classes()["PredictRequest"].FromString(data))


def read_log(data):
    """The endpoint and the dictionary of arrays in a serialized `PredictionLog`."""
    return _read(_classes()["PredictionLog"].FromString(data).predict_log.request)


def _read(request):
    import tensorflow as tf

    tensor_proto = type(tf.make_tensor_proto(0))  # TensorFlow has no public name for it
    tensors = {entry.key: tf.make_ndarray(tensor_proto.FromString(entry.value)) for entry in request.inputs}
    return request.model_spec.signature_name, tensors
