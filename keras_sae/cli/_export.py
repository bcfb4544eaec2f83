import os
import re
import shlex
from pathlib import Path

from keras_sae import presets
from keras_sae.cli._arguments import add_preset
from keras_sae.cli._package import load_package

FORMATS = (".onnx", ".tflite", ".xml")
SUMMARY = "export a pretrained model as a SavedModel for TF Serving"
DETAILS = (
    "Writes DIR/VERSION, a SavedModel with an endpoint for each use: codes, their largest entries, reconstructions, anomaly "
    "scores and more. DIR/README.md says how to serve it; next to it are a client and server configuration. If DIR ends in "
    ".onnx, .tflite or .xml, the encoder, or the detector of a preset that has one, is written to that file for ONNX Runtime, "
    "LiteRT or OpenVINO."
)


def add_arguments(parser):
    add_preset(parser)
    parser.add_argument("directory", metavar="DIR", help="folder of the model, TF Serving's model_base_path")
    parser.add_argument("--model-version", type=int, metavar="N", help="version to write (default: the next free one)")
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="entries that encode_top_k returns (default: the active units of a k-sparse code, or 32)",
    )
    parser.add_argument(
        "--image-inputs",
        action="store_true",
        help="add endpoints that read uint8 images (encode_images, ...) and PNG or JPEG files (encode_image_bytes, ...)",
    )
    parser.add_argument(
        "--weights",
        choices=("float32", "bfloat16"),
        help="type of the stored weights; bfloat16 halves the size (default: that of the model)",
    )


def run(options):
    to_file = _is_file(options.directory)
    if to_file and (options.model_version is not None or options.top_k or options.image_inputs or options.weights):
        raise ValueError(
            "--model-version, --top-k, --image-inputs and --weights apply to a SavedModel, but "
            f"{options.directory!r} is the name of a file in another format. Remove them, or give a folder."
        )
    presets.find(options.preset)  # a wrong name is found before Keras is loaded
    load_package()
    import keras

    if not to_file and keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Exporting for TF Serving needs the TensorFlow backend of Keras, which reads presets of every backend. Set "
            f"KERAS_BACKEND=tensorflow. Received: the backend {keras.backend.backend()!r}."
        )
    from keras_sae.anomaly import has_detector
    from keras_sae.serving import export, export_detector, export_encoder, read_description

    if to_file and has_detector(options.preset):
        difference = export_detector(options.preset, options.directory)
        print(f"Wrote the detector to {options.directory}. Its outputs differ from those of Keras by at most {difference:.1e}.")
        return
    if to_file:
        difference = export_encoder(options.preset, options.directory)
        print(f"Wrote the encoder to {options.directory}. Its codes differ from those of Keras by at most {difference:.1e}.")
        return
    path = export(
        options.preset,
        options.directory,
        version=options.model_version,
        top_k=options.top_k,
        image_inputs=options.image_inputs,
        weights=options.weights,
    )
    description = read_description(path)
    print(f"Exported to {path}. Endpoints: {', '.join(description['endpoints'])}.")
    print("Largest differences from the Keras model, and relative to the norm:")
    for name, difference in description["difference"].items():
        print(f"  {name}: {difference['maximum']:.1e}, {difference['relative']:.1e}")
    print(f"How to serve it: {path.parent / 'README.md'}")
    print(f"Check it: keras-sae verify-export {shlex.quote(options.directory)}")


def _is_file(path):
    """Whether the encoder is written to a file of another format. Refuses names of files of unknown formats."""
    suffix = Path(path).suffix
    if suffix.lower() in FORMATS:
        return True
    if re.fullmatch(r"\.(?!v\d)[A-Za-z]\w*", suffix, re.ASCII) and not path.endswith(("/", os.sep)) and not Path(path).is_dir():
        raise ValueError(
            f"The suffix of {path!r} is none of the formats that the encoder is written in: {', '.join(FORMATS)}. For a folder "
            f"with a SavedModel, add a slash: {path + '/'!r}."
        )
    return False
