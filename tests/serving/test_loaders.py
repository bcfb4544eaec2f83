"""Exports read by independent loaders: TensorFlow's C API, saved_model_cli, OpenVINO, ONNX Runtime."""

import os
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.models import SparseAutoencoder
from keras_sae.serving import export, export_encoder

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


def signatures(version):
    """The signatures of a SavedModel as its file has them."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    return {name: each for name, each in saved.meta_graphs[0].signature_def.items() if not name.startswith("__")}


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Compiles `serve.c` with the headers and the library of the TensorFlow that is installed."""
    import tensorflow as tf

    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, cc")
    library = Path(tf.sysconfig.get_lib())
    names = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]
    if not all((library / name).is_file() for name in names):
        pytest.skip(f"this build of TensorFlow has no {names[0]}")
    program = tmp_path_factory.mktemp("c") / "serve"
    source = Path(__file__).with_name("serve.c")
    command = [compiler, "-std=c11", "-Wall", "-Werror", "-O1", str(source), "-o", str(program)]
    command += [f"-isystem{tf.sysconfig.get_include()}", f"-L{library}", f"-Wl,-rpath,{library}"]
    command += ["-fuse-ld=gold"] if shutil.which("ld.gold") else []  # links this library in a third of the time
    subprocess.run([*command, *(f"-l:{name}" for name in names)], check=True)
    return program


class Plan:
    """The endpoints that `serve.c` runs, and their inputs."""

    def __init__(self, version, folder):
        self.signatures, self.folder, self.version = signatures(version), folder, version
        self.lines, self.fetched = [], []

    def add(self, endpoint, inputs):
        signature = self.signatures[endpoint]
        number = len(self.fetched)
        for name, array in inputs.items():
            info = signature.inputs[name]
            file = self.folder / f"{number}.{name}.in"
            if info.dtype == 7:
                for index, data in enumerate(array):
                    Path(f"{file}.{index}").write_bytes(data)
            else:
                file.write_bytes(array.tobytes())
            sizes = " ".join(map(str, array.shape))
            self.lines.append(f"feed {info.name.replace(':', ' ')} {info.dtype} {array.ndim} {sizes} {file}")
        files = {name: self.folder / f"{number}.{name}.out" for name in signature.outputs}
        self.lines += [f"fetch {signature.outputs[name].name.replace(':', ' ')} {file}" for name, file in files.items()]
        self.lines.append("run")
        self.fetched.append(files)

    def run(self, program):
        """Returns for each run a dictionary of bytes by output, or the error message."""
        (self.folder / "plan").write_text("\n".join(self.lines))
        completed = subprocess.run(
            [program, self.version, self.folder / "plan"],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert completed.returncode == 0, completed.stderr[-2000:]
        outcomes = completed.stdout.splitlines()
        return [
            {name: file.read_bytes() for name, file in files.items()} if outcome == "ok" else outcome
            for files, outcome in zip(self.fetched, outcomes, strict=True)
        ]


def test_a_c_program_runs_every_endpoint_and_gets_errors_for_bad_requests(serve, exported, golden, tmp_path):
    plan = Plan(exported / "1", tmp_path)
    assert set(plan.signatures) == set(golden)
    for endpoint, arrays in golden.items():
        plan.add(endpoint, arrays["inputs"])
    plan.add("encode", {"inputs": np.zeros((4, 2, 30, 1), "float32")})  # as many numbers as 8 samples have
    plan.add("encode", {"inputs": np.zeros((0, 6, 5, 1), "float32")})
    plan.add("encode_image_bytes", {"image_bytes": np.array([b"no image"])})
    *results, misshapen, empty, no_image = plan.run(serve)
    for (endpoint, arrays), result in zip(golden.items(), results, strict=True):
        assert isinstance(result, dict), f"{endpoint}: {result}"
        for name, expected in arrays["outputs"].items():
            actual = np.frombuffer(result[name], expected.dtype).reshape(expected.shape)
            np.testing.assert_allclose(actual, expected, atol=1e-5, err_msg=endpoint)
    assert "[4,2,30,1] is not compatible with expected shape [?,6,5,1]" in misshapen
    assert empty == {"codes": b""}
    assert "Unknown image file format" in no_image


SAVED_MODEL_CLI = """
import sys
from tensorflow.python.tools.saved_model_cli import main
version, folder = sys.argv[1:]
selected = ["--dir", version, "--tag_set", "serve", "--signature_def", "encode_top_k"]
for command in (["show", *selected], ["run", *selected, "--inputs", f"inputs={folder}/inputs.npy", "--outdir", folder]):
    sys.argv = ["saved_model_cli", *command]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, command
"""


def test_saved_model_cli_shows_and_runs(exported, golden, in_fresh_process, tmp_path):
    np.save(tmp_path / "inputs.npy", golden["encode_top_k"]["inputs"]["inputs"])
    shown = in_fresh_process(SAVED_MODEL_CLI, exported / "1", tmp_path, forked=True)
    assert "inputs['inputs'] tensor_info" in shown
    assert "outputs['indices'] tensor_info" in shown
    assert "shape: (-1, 6, 5, 1)" in shown
    for name, expected in golden["encode_top_k"]["outputs"].items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=1e-5)


def presets_by_class():
    """Every preset. All but the smallest of each class are slow tests."""
    seen = set()
    for name in sorted(presets.names(), key=lambda name: (presets.find(name) / "model.weights.h5").stat().st_size):
        kind = presets.read_metadata(presets.find(name))["class_name"]
        yield pytest.param(name, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)


@pytest.mark.parametrize("name", [*presets_by_class()])
def test_openvino_reads_the_saved_model_and_onnx_runtime_the_onnx_of_every_preset(name, tmp_path):
    openvino = pytest.importorskip("openvino", reason="the extra openvino brings it")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx brings it")
    stored = presets.load_reference(name)
    inputs, codes = stored["inputs"], stored["codes"]
    model = SparseAutoencoder.from_preset(name)
    version = export(model, tmp_path / "served", examples=inputs)
    compiled = openvino.Core().compile_model(str(version), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(inputs)[0], codes, rtol=1e-5, atol=1e-5)
    export_encoder(model, tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx"))
    (actual,) = session.run(None, {"inputs": inputs})
    np.testing.assert_allclose(actual, codes, rtol=1e-5, atol=1e-5)
