"""The messages of TF Serving that an export contains: requests, warm-up records, and the configuration of a server.

The package tensorflow-serving-api defines them, but it requires `tensorflow` and cannot be installed next to
`tensorflow-cpu`. So this module declares them again, with the public names and field numbers. Tensors are declared as bytes,
which have the same encoding as messages. This module needs neither keras_sae nor Keras.
"""

import functools

# Message: field: (number, type). A type in a list is repeated. `inputs` and `version_labels` are maps, which protobuf encodes
# as a list of keys and values.
_MESSAGES = {
    "PredictionLog": {"predict_log": (6, "PredictLog")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, ["InputsEntry"])},
    "ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
    "InputsEntry": {"key": (1, "string"), "value": (2, "bytes")},
    "ModelServerConfig": {"model_config_list": (1, "ModelConfigList")},
    "ModelConfigList": {"config": (1, ["ModelConfig"])},
    "ModelConfig": {
        "name": (1, "string"),
        "base_path": (2, "string"),
        "model_platform": (4, "string"),
        "logging_config": (6, "LoggingConfig"),
        "model_version_policy": (7, "VersionPolicy"),
        "version_labels": (8, ["VersionLabelsEntry"]),
    },
    "VersionPolicy": {"latest": (100, "Latest"), "all": (101, "All"), "specific": (102, "Specific")},
    "Latest": {"num_versions": (1, "uint32")},
    "All": {},
    "Specific": {"versions": (1, ["int64"])},
    "VersionLabelsEntry": {"key": (1, "string"), "value": (2, "int64")},
    "LoggingConfig": {"log_collector_config": (1, "LogCollectorConfig"), "sampling_config": (2, "SamplingConfig")},
    "LogCollectorConfig": {"type": (1, "string"), "filename_prefix": (2, "string")},
    "SamplingConfig": {"sampling_rate": (1, "double")},
}
_ONE_OF = {"VersionPolicy"}  # only one of its fields may be set


@functools.cache
def _classes():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="tensorflow.serving", syntax="proto3")
    for message, fields in _MESSAGES.items():
        added = file.message_type.add(name=message)
        if message in _ONE_OF:
            added.oneof_decl.add(name="choice")
        for name, (number, kind) in fields.items():
            field = added.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if isinstance(kind, list) else kinds.LABEL_OPTIONAL
            kind = kind[0] if isinstance(kind, list) else kind
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".tensorflow.serving.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
            if message in _ONE_OF:
                field.oneof_index = 0
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


def read_model_config(text):
    """The models in the text of a `--model_config_file`: a list of `ModelConfig` messages.

    Raises:
        ValueError: The text is not such a configuration. The message has the line and the column.
    """
    from google.protobuf import text_format

    try:
        return list(text_format.Parse(text, _classes()["ModelServerConfig"]()).model_config_list.config)
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error


def _read(request):
    import tensorflow as tf

    tensor_proto = type(tf.make_tensor_proto(0))  # TensorFlow has no public name for it
    tensors = {entry.key: tf.make_ndarray(tensor_proto.FromString(entry.value)) for entry in request.inputs}
    return request.model_spec.signature_name, tensors
