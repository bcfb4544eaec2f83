"""Checks exported versions as a server finds them: a program of its own, `python verification_script.py VERSION ...`.

It blocks the import of keras_sae and Keras. On the first error it exits with status 1 and one sentence.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

BATCH_SIZES = (1, 7, 256)
EXTRA = "assets.extra"


class VerificationError(Exception):
    """What is wrong with an export, in one sentence."""


def check(version):
    """Checks a version, and returns a line that says what was checked."""
    check_files(version)
    import tensorflow as tf

    extra = version / EXTRA
    description = json.loads((extra / "export.json").read_text())
    with np.load(extra / "golden.npz", allow_pickle=False) as arrays:
        golden = dict(arrays)
    try:
        signatures = tf.saved_model.load(str(version)).signatures
    except Exception as error:
        raise VerificationError(f"TensorFlow cannot load the SavedModel: {error}") from error
    endpoints = description["endpoints"]
    if set(signatures) != set(endpoints):
        raise VerificationError(f"The endpoints are {sorted(signatures)}, but export.json lists {sorted(endpoints)}.")
    checker = Checker(signatures, golden, endpoints, rules_of(description))
    for name in endpoints:
        checker.check_signature(name)
    for name in endpoints:
        for size in BATCH_SIZES:
            checker.check_golden(name, size)
    warm_up = check_requests(extra, checker)
    return (
        f"{len(endpoints)} endpoints at batch sizes {', '.join(map(str, BATCH_SIZES))}, "
        f"{3 * len(endpoints)} example requests, {warm_up} warm-up records, checksums"
    )


def rules_of(description):
    """By endpoint: the tolerance, and the endpoint whose codes its `indices` point into."""
    if "verification" in description:
        return description["verification"]
    # Exports of earlier releases do not have this key.
    indices_of = {name: name.replace("encode_top_k", "encode") for name in description["endpoints"] if "top_k" in name}
    return {name: {"tolerance": 1e-5, "indices_of": indices_of.get(name)} for name in description["endpoints"]}


def check_files(version):
    sums = version / EXTRA / "SHA256SUMS"
    if not sums.is_file():
        raise VerificationError(f"{EXTRA}/SHA256SUMS is missing: keras_sae did not export this version, or not completely.")
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in sums.read_text().splitlines())}
    found = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()} - {f"{EXTRA}/SHA256SUMS"}
    for name in sorted(found - set(listed)):
        raise VerificationError(f"{name} is not listed in {EXTRA}/SHA256SUMS: it was added after the export.")
    for name, digest in listed.items():
        if name not in found:
            raise VerificationError(f"{name} is missing.")
        actual = hashlib.sha256((version / name).read_bytes()).hexdigest()
        if actual != digest:
            raise VerificationError(f"{name} is damaged. Expected SHA-256: {digest}. Found: {actual}.")


class Checker:
    """Runs the endpoints of a version and compares the outputs with the golden ones."""

    def __init__(self, signatures, golden, endpoints, rules):
        self.signatures = signatures
        self.golden = golden
        self.endpoints = endpoints
        self.rules = rules

    def check_signature(self, name):
        function = self.signatures[name]
        for kind, found in (("inputs", function.structured_input_signature[1]), ("outputs", function.structured_outputs)):
            expected = self.endpoints[name][kind]
            actual = {key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for key, spec in found.items()}
            if actual != expected:
                raise VerificationError(f"The {kind} of the endpoint {name} are {actual}, but export.json lists {expected}.")

    def arrays(self, name, kind):
        prefix = f"{name}/{kind}/"
        arrays = {key.removeprefix(prefix): value for key, value in self.golden.items() if key.startswith(prefix)}
        if set(arrays) != set(self.endpoints[name][kind]):
            listed = sorted(self.endpoints[name][kind])
            raise VerificationError(
                f"golden.npz has the {kind} {sorted(arrays)} for the endpoint {name}, but export.json lists {listed}."
            )
        return arrays

    def run(self, name, inputs):
        import tensorflow as tf

        try:
            outputs = self.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        except Exception as error:
            shapes = {key: (value.dtype.name, value.shape) for key, value in inputs.items()}
            raise VerificationError(f"The endpoint {name} fails on {shapes}: {error}") from error
        return {key: value.numpy() for key, value in outputs.items()}

    def check_golden(self, name, size):
        """Runs the golden inputs, repeated up to a batch size."""
        inputs = {key: tiled(value, size) for key, value in self.arrays(name, "inputs").items()}
        self.compare(name, inputs, f"at batch size {size}")

    def compare(self, name, inputs, where):
        """Runs an endpoint on the first of the golden inputs, or on repeated ones, and compares the outputs."""
        size = len(next(iter(inputs.values())))
        expected = {key: tiled(value, size) for key, value in self.arrays(name, "outputs").items()}
        outputs = self.run(name, inputs)
        rule = self.rules[name]
        if rule["indices_of"]:
            # Equal entries may come in any order, so the entries are compared, and not the indices themselves.
            flat = tiled(self.golden[f"{rule['indices_of']}/outputs/codes"], size).reshape(size, -1)
            indices = outputs.pop("indices")
            if indices.shape != expected.pop("indices").shape or not ((indices >= 0) & (indices < flat.shape[1])).all():
                raise VerificationError(f"The indices of the endpoint {name} {where} lie outside the code.")
            what = f"The entries that `indices` of {name} {where} point to"
            close(np.take_along_axis(flat, indices, 1), expected["values"], what, rule["tolerance"])
        for key, value in expected.items():
            close(outputs[key], value, f"The output {key} of the endpoint {name} {where}", rule["tolerance"])


def tiled(array, size):
    return np.resize(array, (size, *array.shape[1:]))


def close(actual, expected, what, tolerance):
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        found, golden = f"{actual.dtype} {actual.shape}", f"{expected.dtype} {expected.shape}"
        raise VerificationError(f"{what}: found {found}, but the golden output is {golden}.")
    allowed = tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
    difference = float(np.abs(actual.astype("float64") - expected).max(initial=0))
    if not difference <= allowed:
        raise VerificationError(f"{what}: the difference from the golden output is {difference:.2g}. Allowed: {allowed:.0e}.")


def check_requests(extra, checker):
    """Runs the example requests and the warm-up records, and returns the number of records."""
    import tensorflow as tf

    messages = tf_serving_messages()
    for name in checker.endpoints:
        for kind in ("row.json", "columnar.json", "pb"):
            path = extra / "requests" / f"{name}.{kind}"
            if not path.is_file():
                raise VerificationError(f"The example requests/{path.name} is missing.")
            if kind == "pb":
                endpoint, inputs = messages.read_request(path.read_bytes())
            else:
                endpoint, inputs = from_json(json.loads(path.read_text()), checker.endpoints[name]["inputs"])
            if endpoint != name:
                raise VerificationError(f"requests/{path.name} is a request to the endpoint {endpoint}.")
            checker.compare(name, inputs, f"for requests/{path.name}")
    warmed = set()
    for record in tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests")).as_numpy_iterator():
        endpoint, inputs = messages.read_log(record)
        if endpoint not in checker.endpoints:
            raise VerificationError(f"A warm-up record is for the endpoint {endpoint!r}, which does not exist.")
        checker.compare(endpoint, inputs, "for its warm-up record")
        warmed.add(endpoint)
    if warmed != set(checker.endpoints):
        missing = sorted(set(checker.endpoints) - warmed)
        raise VerificationError(f"There is no warm-up record for {', '.join(missing)}.")
    return len(warmed)


def from_json(body, specs):
    """The endpoint and the arrays in the body of a REST request."""
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
    """The module `_messages`, loaded from its file, since its package cannot be imported here."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("tf_serving_messages", Path(__file__).with_name("_messages.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(versions):
    if {"keras", "keras_sae"} & set(sys.modules):
        raise SystemExit("Keras is imported already. Run this script in a process of its own.")
    sys.modules["keras"] = sys.modules["keras_sae"] = None  # from now on, importing them fails
    for version in map(Path, versions):
        try:
            print(f"{version}: {check(version)}", flush=True)
        except Exception as error:
            sentence = str(error) if isinstance(error, VerificationError) else f"{type(error).__name__}: {error}"
            print(f"{version}: {' '.join(sentence.split())}", file=sys.stderr)  # one line, since `_verify` reads the last
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
