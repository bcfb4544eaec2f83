"""The files that go with a SavedModel: in `assets.extra` those of one version, next to the versions those of the model."""

import hashlib
import importlib
import json
import re
import unicodedata
from importlib import resources
from pathlib import Path

import keras
import numpy as np

from keras_sae.serving._examples import golden_examples, write_requests
from keras_sae.version import __version__

EXTRA = "assets.extra"  # TensorFlow's name for files that go with a SavedModel and are not part of its graph
FORMAT = 1
_TEMPLATES = resources.files("keras_sae.serving") / "templates"
_OF_THE_MODEL = ("README.md", "batching_parameters.txt", "client.py", "models.config")


def write_version_assets(model, signatures, version, name, weights, examples):
    """Runs a SavedModel on golden examples, and writes `assets.extra`. Refuses outputs that are not finite.

    Args:
        model: The model that was exported.
        signatures: Its `Signature` objects by name.
        version: `pathlib.Path` of the SavedModel.
        name: Name of the model in requests.
        weights: The type in which weights are stored, in words.
        examples: Array of encoder inputs.
    """
    import tensorflow as tf

    functions = tf.saved_model.load(str(version)).signatures
    golden = golden_examples(signatures, functions, examples)
    _check_finite(model, golden)
    extra = version / EXTRA
    write_requests(extra, name, golden)
    description = {
        "format": FORMAT,
        "model": {"name": name, "class_name": type(model).__name__},
        "weights": weights,
        "packages": {
            "keras_sae": __version__,
            **{package: importlib.import_module(package).__version__ for package in ("keras", "tensorflow")},
        },
        "endpoints": {key: _tensors(functions[key]) for key in signatures},
        "meanings": {key: signature.endpoint.meaning for key, signature in signatures.items()},
        "verification": {
            key: {"tolerance": signature.endpoint.tolerance, "indices_of": signature.indices_of}
            for key, signature in signatures.items()
        },
        "difference": _differences(model, golden),
    }
    (extra / "export.json").write_text(json.dumps(description, indent=2, allow_nan=False) + "\n")
    (extra / "README.md").write_text(_version_readme(description), encoding="utf-8")
    write_checksums(version)


def _check_finite(model, golden):
    for key, example in golden.items():
        for name, values in example.outputs.items():
            if not np.isfinite(values.astype("float64")).all():
                raise ValueError(
                    f"The {type(model).__name__} {model.name!r} is not exported: the output {name!r} of its endpoint {key!r} "
                    "is NaN or infinite for the examples, though weights and examples are finite. Pass other `examples`, or "
                    "scale them as in training."
                )


def served_name(directory):
    """The name of a model in requests: that of its folder, in letters, digits and `_.-`, since it is part of an address."""
    letters = unicodedata.normalize("NFKD", Path(directory).resolve().name)
    without_accents = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^\w.-]", "_", without_accents, flags=re.ASCII)


def read_description(version):
    """Reads `export.json` of an exported version: its endpoints, the packages that wrote it, its difference from the model."""
    return json.loads((Path(version) / EXTRA / "export.json").read_text())


def write_checksums(version):
    """Writes `assets.extra/SHA256SUMS`, for `sha256sum -c` in the folder of the version."""
    files = sorted(path for path in version.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(version).as_posix()}\n" for path in files]
    (version / EXTRA / "SHA256SUMS").write_text("".join(lines))


def write_model_assets(directory, version):
    """Writes the files next to the versions. Existing files stay as they are, since people decide which version is served."""
    import tensorflow as tf

    values = {"NAME": served_name(directory), "VERSION": version, "NEXT": version + 1, "TENSORFLOW": tf.__version__}
    for file in _OF_THE_MODEL:
        try:
            with (directory / file).open("x", encoding="utf-8") as opened:
                opened.write(_filled(_TEMPLATES / file, values))
        except FileExistsError:
            pass


def _filled(template, values):
    text = template.read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def _tensors(function):
    def specs(structure):
        return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in sorted(structure.items())}

    return {"inputs": specs(function.structured_input_signature[1]), "outputs": specs(function.structured_outputs)}


def _differences(model, golden):
    """How far the exported model is from the Keras model on the golden examples."""
    codes = model.encoder(golden["encode"].inputs["inputs"], training=False)
    reconstructions = keras.ops.cast(model.decoder(codes, training=False), "float32")
    return {
        "codes": _difference(golden["encode"].outputs["codes"], codes),
        "reconstructions": _difference(golden["reconstruct"].outputs["reconstructions"], reconstructions),
    }


def _difference(exported, expected):
    exported, expected = (keras.ops.convert_to_numpy(keras.ops.cast(each, "float64")) for each in (exported, expected))
    norm = np.linalg.norm(expected)
    return {
        "maximum": float(np.abs(exported - expected).max()),
        "relative": float(np.linalg.norm(exported - expected) / norm) if norm else 0.0,
    }


def _version_readme(description):
    def tensors(specs):
        return ", ".join(
            f"`{name}` {spec['dtype']} ({', '.join('any' if size is None else str(size) for size in spec['shape'])})"
            for name, spec in specs.items()
        )

    rows = [
        f"| `{name}` | {tensors(table['inputs'])} | {tensors(table['outputs'])} | {description['meanings'][name]} |"
        for name, table in description["endpoints"].items()
    ]
    differences = [
        f"| {name} | {value['maximum']:.1e} | {value['relative']:.1e} |" for name, value in description["difference"].items()
    ]
    values = {
        "NAME": description["model"]["name"],
        "CLASS": description["model"]["class_name"],
        "WEIGHTS": description["weights"],
        "PACKAGES": ", ".join(f"{package} {version}" for package, version in description["packages"].items()),
        "ENDPOINTS": "\n".join(rows),
        "DIFFERENCES": "\n".join(differences),
    }
    return _filled(_TEMPLATES / "version" / "README.md", values)
