"""What goes with a SavedModel: in `assets.extra` of each version what belongs to it, beside the versions what serves them."""

import base64
import hashlib
import importlib
import json
import re
from importlib import resources
from pathlib import Path

import keras
import numpy as np

from keras_sae.serving._messages import predict_request, prediction_log
from keras_sae.version import __version__

EXTRA = "assets.extra"  # TensorFlow's own name for what lies with a SavedModel and is not part of its graph
FORMAT = 1
_TEMPLATES = resources.files("keras_sae.serving") / "templates"
_OF_THE_MODEL = ("README.md", "batching_parameters.txt", "client.py", "models.config")


def write_extra(model, endpoints, version, name, weights, examples):
    """Runs a SavedModel just written, and writes `assets.extra` with what came of it.

    Args:
        model: The model that it was made of.
        endpoints: Its endpoints.
        version: `pathlib.Path` of the SavedModel.
        name: Name of the model in requests.
        weights: What weights are stored as.
        examples: Array of inputs, for the golden requests.
    """
    import tensorflow as tf

    signatures = tf.saved_model.load(str(version)).signatures
    codes = keras.ops.convert_to_numpy(keras.ops.cast(model.encoder(examples, training=False), model.decoder.inputs[0].dtype))
    given = {"inputs": lambda: examples, "codes": lambda: codes, "images": lambda: _images(examples)}
    given["image_bytes"] = lambda: _encoded(_images(examples))
    golden, table, warm_up = {}, {}, []
    extra = version / EXTRA
    requests = extra / "requests"
    requests.mkdir(parents=True)
    for key, endpoint in endpoints.items():
        array = given[endpoint.input]()
        outputs = {output: value.numpy() for output, value in signatures[key](**{endpoint.input: tf.constant(array)}).items()}
        golden.update({f"{key}/inputs/{endpoint.input}": _storable(array)})
        golden.update({f"{key}/outputs/{output}": value for output, value in outputs.items()})
        table[key] = _signature(signatures[key])
        (requests / f"{key}.row.json").write_text(_json(key, {endpoint.input: array[:2]}, row=True))
        (requests / f"{key}.columnar.json").write_text(_json(key, {endpoint.input: array[:2]}, row=False))
        (requests / f"{key}.pb").write_bytes(predict_request(name, key, {endpoint.input: array[:2]}))
        warm_up.append(prediction_log(predict_request(name, key, {endpoint.input: array[:1]})))
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for record in warm_up:
            writer.write(record)
    np.savez_compressed(extra / "golden.npz", **golden)
    reconstructions = keras.ops.convert_to_numpy(keras.ops.cast(model.decoder(codes, training=False), "float32"))
    description = {
        "format": FORMAT,
        "model": {"name": name, "class_name": type(model).__name__},
        "weights": weights,
        "packages": {
            "keras_sae": __version__,
            **{package: importlib.import_module(package).__version__ for package in ("keras", "tensorflow")},
        },
        "endpoints": table,
        "difference": {
            "codes": _difference(golden["encode/outputs/codes"], codes),
            "reconstructions": _difference(golden["reconstruct/outputs/reconstructions"], reconstructions),
        },
    }
    (extra / "export.json").write_text(json.dumps(description, indent=2) + "\n")
    (extra / "README.md").write_text(_readme_of_version(description), encoding="utf-8")
    write_checksums(version)


def name_of(directory):
    """The name of a model in requests: that of its folder, as far as it fits into an address."""
    return re.sub(r"[^\w.-]", "_", Path(directory).resolve().name)


def read_description(version):
    """What `export.json` says of an exported version: its endpoints, what wrote it, how much it differs from the model."""
    return json.loads((Path(version) / EXTRA / "export.json").read_text())


def write_checksums(version):
    """Writes `assets.extra/SHA256SUMS`, which `sha256sum -c` reads in the folder of the version."""
    files = sorted(path for path in version.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(version).as_posix()}\n" for path in files]
    (version / EXTRA / "SHA256SUMS").write_text("".join(lines))


def write_beside_versions(directory, version):
    """Writes what serves all versions of a model into its folder, each file where there is none.

    Which version is served is for people to say: an export never changes `models.config`.
    """
    import tensorflow as tf

    name = name_of(directory)
    for file in _OF_THE_MODEL:
        text = (_TEMPLATES / file).read_text(encoding="utf-8")
        for key, value in {"NAME": name, "VERSION": version, "NEXT": version + 1, "TENSORFLOW": tf.__version__}.items():
            text = text.replace(f"@{key}@", str(value))
        _write_new(directory / file, text)


def _write_new(path, text):
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        pass


def _images(inputs):
    return np.round(np.clip(inputs, 0, 1) * 255).astype("uint8")


def _encoded(images):
    import tensorflow as tf

    return np.array([tf.io.encode_png(image).numpy() for image in images], object)


def _storable(array):
    return array.astype("S") if array.dtype == object else array  # an encoded image does not end in a zero byte


def _signature(function):
    def specs(structure):
        return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in sorted(structure.items())}

    return {"inputs": specs(function.structured_input_signature[1]), "outputs": specs(function.structured_outputs)}


def _json(endpoint, tensors, row):
    """The body of a REST request: by rows, a list of samples; or by columns, an array for each input."""
    columns = {name: _as_json(array) for name, array in tensors.items()}
    if row:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return json.dumps({"signature_name": endpoint, "instances": rows}) + "\n"
    return json.dumps({"signature_name": endpoint, "inputs": columns}) + "\n"


def _as_json(array):
    if array.dtype == object:
        return [{"b64": base64.b64encode(data).decode()} for data in array]
    if array.dtype == "float32":  # by as many digits as a float32 has
        return array.astype("U").astype("float64").tolist()
    return array.tolist()


def _difference(exported, model):
    """By how much two arrays differ: at most, and in Euclidean norm relative to that of the model's."""
    exported, model = exported.astype("float64"), model.astype("float64")
    norm = np.linalg.norm(model)
    return {
        "maximum": float(np.abs(exported - model).max()),
        "relative": float(np.linalg.norm(exported - model) / norm) if norm else 0.0,
    }


def _readme_of_version(description):
    def tensors(specs):
        return ", ".join(
            f"`{name}` {spec['dtype']} ({', '.join('any' if size is None else str(size) for size in spec['shape'])})"
            for name, spec in specs.items()
        )

    rows = [
        f"| `{name}` | {tensors(table['inputs'])} | {tensors(table['outputs'])} |"
        for name, table in description["endpoints"].items()
    ]
    packages = ", ".join(f"{package} {version}" for package, version in description["packages"].items())
    differences = [
        f"- {name}: {value['maximum']:.1e} at most, {value['relative']:.1e} of the norm"
        for name, value in description["difference"].items()
    ]
    return "\n".join(
        [
            f"# {description['model']['name']}: what this version offers",
            "",
            f"A {description['model']['class_name']}, weights stored as {description['weights']}. Written by {packages}.",
            "",
            "| endpoint | inputs | outputs |",
            "|---|---|---|",
            *rows,
            "",
            "The first axis is the batch. By how much the golden answers differ from those of the Keras model:",
            "",
            *differences,
            "",
            "| file | what it is |",
            "|---|---|",
            "| `golden.npz` | inputs and outputs of every endpoint: `ENDPOINT/inputs/NAME` and `ENDPOINT/outputs/NAME` |",
            "| `requests/ENDPOINT.row.json`, `.columnar.json` | bodies for `POST /v1/models/MODEL:predict` |",
            "| `requests/ENDPOINT.pb` | a serialised `tensorflow.serving.PredictRequest` |",
            "| `tf_serving_warmup_requests` | what a server runs before it serves this version |",
            "| `export.json` | this page for programs |",
            "| `SHA256SUMS` | `sha256sum -c assets.extra/SHA256SUMS`, in the folder of the version |",
            "",
        ]
    )
