"""Checks exported versions as a server would find them: a program of its own, `python verification_script.py VERSION ...`.

While it runs, neither keras_sae nor Keras can be imported. Ends with status 1 and a sentence on the first thing that is wrong.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

TOLERANCE = 1e-5
BATCH_SIZES = (1, 7, 256)
EXTRA = "assets.extra"


class Wrong(Exception):
    """What is wrong with an export, in a sentence."""


def check(version):
    """Checks a version. Returns a line that says what was checked."""
    check_files(version)
    import tensorflow as tf

    extra = version / EXTRA
    description = json.loads((extra / "export.json").read_text())
    with np.load(extra / "golden.npz", allow_pickle=False) as arrays:
        golden = dict(arrays)
    try:
        signatures = tf.saved_model.load(str(version)).signatures
    except Exception as error:
        raise Wrong(f"TensorFlow cannot load the SavedModel: {error}") from error
    endpoints = description["endpoints"]
    if set(signatures) != set(endpoints):
        raise Wrong(f"The endpoints are {sorted(signatures)}, and export.json lists {sorted(endpoints)}.")
    runs = Runs(signatures, golden, endpoints)
    for name in endpoints:
        runs.check_signature(name)
    for name in endpoints:
        for size in BATCH_SIZES:
            runs.check_golden(name, size)
    warm_up = check_requests(extra, runs)
    return (
        f"{len(endpoints)} endpoints at batch sizes {', '.join(map(str, BATCH_SIZES))}, "
        f"{3 * len(endpoints)} example requests, {warm_up} warm-up records, checksums"
    )


def check_files(version):
    sums = version / EXTRA / "SHA256SUMS"
    if not sums.is_file():
        raise Wrong(f"{EXTRA}/SHA256SUMS is missing: this is no version that keras_sae exported, or not all of one.")
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in sums.read_text().splitlines())}
    found = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()} - {f"{EXTRA}/SHA256SUMS"}
    for name in sorted(found - set(listed)):
        raise Wrong(f"{name} is not listed in {EXTRA}/SHA256SUMS: somebody put it there.")
    for name, digest in listed.items():
        if name not in found:
            raise Wrong(f"{name} is missing.")
        actual = hashlib.sha256((version / name).read_bytes()).hexdigest()
        if actual != digest:
            raise Wrong(f"{name} is damaged. Expected SHA-256: {digest}. Found: {actual}.")


class Runs:
    """The endpoints of a version, run and compared with its golden answers."""

    def __init__(self, signatures, golden, endpoints):
        self.signatures = signatures
        self.golden = golden
        self.endpoints = endpoints

    def check_signature(self, name):
        function = self.signatures[name]
        for kind, found in (("inputs", function.structured_input_signature[1]), ("outputs", function.structured_outputs)):
            expected = self.endpoints[name][kind]
            actual = {key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for key, spec in found.items()}
            if actual != expected:
                raise Wrong(f"The {kind} of the endpoint {name} are {actual}, and export.json lists {expected}.")

    def arrays(self, name, kind):
        prefix = f"{name}/{kind}/"
        arrays = {key.removeprefix(prefix): value for key, value in self.golden.items() if key.startswith(prefix)}
        if set(arrays) != set(self.endpoints[name][kind]):
            raise Wrong(f"golden.npz has the {kind} {sorted(arrays)} of the endpoint {name}, and not those of export.json.")
        return arrays

    def run(self, name, inputs):
        import tensorflow as tf

        try:
            outputs = self.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        except Exception as error:
            shapes = {key: (value.dtype.name, value.shape) for key, value in inputs.items()}
            raise Wrong(f"The endpoint {name} fails on {shapes}: {error}") from error
        return {key: value.numpy() for key, value in outputs.items()}

    def check_golden(self, name, size):
        """Repeats the golden inputs up to a batch size, and compares what comes out."""
        inputs = {key: tiled(value, size) for key, value in self.arrays(name, "inputs").items()}
        self.compare(name, inputs, f"at batch size {size}")

    def compare(self, name, inputs, where):
        """Runs an endpoint on inputs that begin as the golden ones, and compares what comes out."""
        size = len(next(iter(inputs.values())))
        expected = {key: tiled(value, size) for key, value in self.arrays(name, "outputs").items()}
        outputs = self.run(name, inputs)
        if "indices" in outputs:
            # Which of two equal entries is named is nobody's concern, so an index stands for the entry that it names.
            codes = tiled(self.golden["encode/outputs/codes"], size)
            if f"{name.removeprefix('encode_top_k')}".startswith("_image"):
                codes = tiled(self.golden["encode" + name.removeprefix("encode_top_k") + "/outputs/codes"], size)
            flat = codes.reshape(size, -1)
            indices = outputs.pop("indices")
            if indices.shape != expected["indices"].shape or not ((indices >= 0) & (indices < flat.shape[1])).all():
                raise Wrong(f"The indices of the endpoint {name} {where} are not among the entries of a code.")
            close(np.take_along_axis(flat, indices, 1), expected["values"], f"What `indices` of {name} {where} name")
            del expected["indices"]
        for key, value in expected.items():
            close(outputs[key], value, f"The output {key} of the endpoint {name} {where}")


def tiled(array, size):
    return np.resize(array, (size, *array.shape[1:]))


def close(actual, expected, what):
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise Wrong(f"{what} is {actual.dtype} {actual.shape}, and the golden answer {expected.dtype} {expected.shape}.")
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    difference = float(np.abs(actual.astype("float64") - expected).max(initial=0))
    if not difference <= TOLERANCE * scale:
        raise Wrong(f"{what} differs from the golden answer by {difference:.2g}; allowed are {TOLERANCE * scale:.0e}.")


def check_requests(extra, runs):
    """Replays the example requests and the warm-up records. Returns how many records there are."""
    import tensorflow as tf

    messages = tf_serving_messages()
    for name in runs.endpoints:
        for kind in ("row.json", "columnar.json", "pb"):
            path = extra / "requests" / f"{name}.{kind}"
            if not path.is_file():
                raise Wrong(f"The example requests/{path.name} is missing.")
            if kind == "pb":
                endpoint, inputs = messages.read_request(path.read_bytes())
            else:
                endpoint, inputs = from_json(json.loads(path.read_text()), runs.endpoints[name]["inputs"])
            if endpoint != name:
                raise Wrong(f"requests/{path.name} asks the endpoint {endpoint}.")
            runs.compare(name, inputs, f"asked by requests/{path.name}")
    warmed = set()
    for record in tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests")).as_numpy_iterator():
        endpoint, inputs = messages.read_log(record)
        if endpoint not in runs.endpoints:
            raise Wrong(f"A warm-up record asks the endpoint {endpoint!r}, which there is not.")
        runs.compare(endpoint, inputs, "asked by its warm-up record")
        warmed.add(endpoint)
    if warmed != set(runs.endpoints):
        raise Wrong(f"No warm-up record asks {', '.join(sorted(set(runs.endpoints) - warmed))}.")
    return len(warmed)


def from_json(body, specs):
    """The endpoint and the arrays of the body of a REST request."""
    columns = body.get("inputs")
    if columns is None:
        columns = {name: [row[name] for row in body["instances"]] for name in specs}
    inputs = {}
    for name, spec in specs.items():
        if spec["dtype"] == "string":
            inputs[name] = np.array([base64.b64decode(value["b64"]) for value in columns[name]])
        else:
            inputs[name] = np.array(columns[name], spec["dtype"])
    return body["signature_name"], inputs


def tf_serving_messages():
    """The module beside this one, which is found as a file: its package cannot be imported here."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("tf_serving_messages", Path(__file__).with_name("_messages.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(versions):
    if {"keras", "keras_sae"} & set(sys.modules):
        raise SystemExit("Keras is here already, and would not be in a server.")
    sys.modules["keras"] = sys.modules["keras_sae"] = None  # from here on, importing them fails
    for version in map(Path, versions):
        try:
            print(f"{version}: {check(version)}", flush=True)
        except Exception as error:
            sentence = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
            print(f"{version}: {' '.join(sentence.split())}", file=sys.stderr)  # in a line, which TensorFlow's are not
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
