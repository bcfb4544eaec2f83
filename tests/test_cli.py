import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import sparse

from keras_sae import _backend, cli, presets
from keras_sae.cli import _evaluate, _main, _recipes
from keras_sae.cli._parser import COMMANDS
from keras_sae.presets import _catalog
from keras_sae.presets._manifest import write_metadata
from keras_sae.training import Recipe, _card, _recipe_file, load_recipe, read_run

SMALL = """
title = "A small recipe"
epochs = 2
batch_size = 64
seed = 3
data = { name = "fashion_mnist_sample", train = "train[:200]", test = "test[:100]" }
model = { class = "DenseAutoencoder", code_units = 20, sparsity = { class = "ActivityKL" } }
optimizer = { class = "Adam" }
probe = { validation = 50, C = [0.1], few_labels = [20], draws = 2 }
"""


@pytest.fixture
def small_recipe(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "small.toml"


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_is_installed():
    command = shutil.which("keras-sae", path=sysconfig.get_path("scripts"))
    if command is None:
        pytest.skip("the package is not installed in this environment")
    printed = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    for name in COMMANDS:
        assert re.search(rf"^ +{name}\b", printed, re.MULTILINE)


ANSWERS = [
    "--help",
    "train --help",
    "detect --help",
    "--version",
    "list",
    "list --markdown",
    "info mnist_dense_ksparse",
    "recipes",
]
ERRORS = [
    "nonsense",
    "train mnist_dense_kl --set epoch=3",
    "train",
    "info no_such_preset",
    "export no_such_preset somewhere",
    "train no_such_recipe",
    "train no_such_table.csv",
    "calibrate no_such_preset",
    "detect no_such_preset somewhere --output scores.csv",
]


@pytest.mark.parametrize("arguments", ANSWERS + ERRORS)
def test_light_commands_load_no_keras(in_fresh_process, arguments):
    code = """
import sys
from keras_sae.cli import main
try:
    status = main()
except SystemExit as stopped:
    status = stopped.code
heavy = {"keras", "tensorflow", "tensorflow_datasets", "numpy", "h5py", "sklearn", "matplotlib"} & set(sys.modules)
print("status", status, "loaded", *sorted(heavy))
"""
    *answer, last = in_fresh_process(code, *arguments.split()).splitlines()
    assert last.strip() == f"status {2 if arguments in ERRORS else 0} loaded"
    assert bool(answer) == (arguments in ANSWERS)


def test_light_commands_answer_at_once():
    command = [sys.executable, "-m", "keras_sae.cli", "list"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1  # 0.2 on an idle core; Keras takes seconds


@pytest.mark.parametrize("started", [["-m", "keras_sae"], ["-m", "keras_sae.cli"], ["keras-sae"], ["-X", "utf8", "keras-sae"]])
def test_each_way_to_start_the_command_line_is_light(tmp_path, started):
    (tmp_path / "keras-sae").write_text("import sys\nfrom keras_sae.cli import main\nsys.exit(main())\n")
    command = [sys.executable, "-X", "importtime", *started, "--version"]
    shown = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}  # at 3, nothing that is written while Keras loads is shown
    done = subprocess.run(command, cwd=tmp_path, env=shown, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("keras_sae ")
    loaded = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "keras_sae.cli._parser" in loaded
    assert "keras" not in loaded


def test_everything_is_loaded_for_other_programs(tmp_path):
    # A program may import the package only for its registered classes, whatever its arguments are.
    (tmp_path / "program.py").write_text("import sys, keras_sae; print('keras_sae.models' in sys.modules)")
    command = [sys.executable, tmp_path / "program.py", "-m", "keras_sae.cli"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def test_the_messages_of_tensorflow_are_hidden(in_fresh_process, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    code = "import sys; from keras_sae.cli import main; sys.exit(main())"
    assert in_fresh_process(code, "recipes", "mnist_dense_kl", check=False).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "before", "after"),
    [(["list"], None, "3"), (["--verbose", "list"], None, None), (["list", "--verbose"], None, None), (["list"], "1", "1")],
)
def test_the_messages_of_tensorflow_are_shown_on_request(capsys, monkeypatch, arguments, before, after):
    monkeypatch.setattr(os, "environ", {"TF_CPP_MIN_LOG_LEVEL": before} if before else {})
    assert cli.main(arguments) == 0
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == after


def test_what_a_failing_import_writes_is_shown(capfd):
    def failing():
        with _backend._without_native_messages():
            os.write(2, b"Illegal instruction\n")
            raise ImportError("no such library")

    with pytest.raises(ImportError, match="no such library"):
        failing()
    assert capfd.readouterr().err == "Illegal instruction\n"
    with _backend._without_native_messages():
        os.write(2, b"all is well\n")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("backend", "extra"), [("tensorflow", "cpu"), ("jax", "jax"), ("torch", "torch")])
def test_without_a_backend_it_says_what_to_install(in_fresh_process, backend, extra):
    without = f"""
import os, sys
class Missing:
    def find_spec(name, path=None, target=None):
        if name == {backend!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing)
os.environ["KERAS_BACKEND"] = {backend!r}
"""
    imported = in_fresh_process(without + "import keras_sae", check=False)
    assert imported.returncode == 1
    assert f'pip install "keras_sae[{extra}]"' in imported.stderr.splitlines()[-1]
    encode = ("encode", "mnist_dense_kl", "images.npy", "codes.npy")
    done = in_fresh_process(without + "from keras_sae.cli import main; sys.exit(main())", *encode, check=False)
    assert done.returncode == 2
    assert f'pip install "keras_sae[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    listed = in_fresh_process(without + "from keras_sae.cli import main; sys.exit(main())", "list")
    assert "mnist_dense_kl" in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out) > 100


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["recipes", "mnist_dense_kl", "--toml"]])
def test_an_output_that_nobody_reads_ends_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "keras_sae", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == (0 if arguments == ["--help"] else 141)  # argparse ignores the closed pipe


def test_ctrl_c_while_a_command_loads_is_a_sentence(capsys, monkeypatch):
    def stopped():
        raise KeyboardInterrupt

    def translated():  # as a compiled module does that is interrupted while it is imported
        try:
            stopped()
        except KeyboardInterrupt as error:
            raise ImportError("numpy._core.multiarray failed to import") from error

    for each in (stopped, translated):
        monkeypatch.setattr(_recipes, "load_package", each)
        status, _, said = run(capsys, "recipes", "mnist_dense_kl")
        assert (status, said) == (130, "\nkeras-sae recipes: stopped.\n")
        monkeypatch.setattr(_main, "make_parser", each)
        assert run(capsys, "list")[0] == 130
        monkeypatch.undo()


def test_verbose_shows_where_an_error_comes_from(capsys):
    assert "Traceback" in run(capsys, "--verbose", "info", "no_such_preset")[2]


def test_recipes_print_a_file_to_start_from(capsys, tmp_path):
    for overrides in ([], ["--set", "epochs=7"]):
        status, printed, _ = run(capsys, "recipes", "mnist_dense_kl", "--toml", *overrides)
        assert status == 0
        (tmp_path / "mine.toml").write_text(printed)
        mine, shipped = load_recipe(tmp_path / "mine.toml"), load_recipe("mnist_dense_kl", overrides[1:])
        assert {**mine.as_data(), "name": ""} == {**shipped.as_data(), "name": ""}
    assert run(capsys, "recipes", "--toml")[0] == 2


def test_keys_of_recipes_are_those_of_the_class():
    assert set(_recipe_file.KEYS) == {field.name for field in dataclasses.fields(Recipe)} - {"suite_options"}


def test_a_run_without_evaluation_is_evaluated_later(capsys, tmp_path, small_recipe):
    output = ["--output", tmp_path / "run", "--set", "epochs=1"]
    status, printed, _ = run(capsys, "train", small_recipe, *output, "--no-evaluate")
    assert status == 0
    assert not (tmp_path / "run" / "preset").exists()
    (command,) = re.findall("keras-sae (train .* --resume)$", printed, re.MULTILINE)
    assert "--no-evaluate" not in command
    assert run(capsys, *command.split())[0] == 0
    preset = tmp_path / "run" / "preset"
    card = (preset / "README.md").read_text()
    # The commands of the card work: in its directory, and with its recipe.
    assert "keras-sae evaluate .\n" in card
    assert 'from_preset("path/to/small")' in card
    assert "save this recipe as `small.toml`" in card
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "small.toml").write_text(re.search("```toml\n(.*?)```", card, re.DOTALL)[1])
    assert load_recipe(tmp_path / "again" / "small.toml").as_data() == load_recipe(small_recipe, ["epochs=1"]).as_data()
    assert "(n, 28, 28, 1) in [0, 1] to" in card
    metadata = presets.read_metadata(preset)
    metadata["data"]["dtype"] = "float32"
    assert "(n, 28, 28, 1) to" in _card.render(metadata)
    assert "was edited" not in run(capsys, "info", preset)[1]
    (preset / "README.md").write_text(card + "More.\n")
    assert "README.md was edited" in run(capsys, "info", preset)[1]


def test_list_and_info(capsys):
    status, printed, _ = run(capsys, "list")
    assert status == 0
    assert re.search(r"^mnist_dense_ksparse +1000 +75 +\d\.\d\d % +\d\.\d\d % ", printed, re.MULTILINE)
    for name in presets.names():
        assert name in printed
        status, card, _ = run(capsys, "info", name)
        assert status == 0
        assert f"# {name}" in card
    assert run(capsys, "list", "--markdown")[1].count("\n| [") == len(presets.names())


def test_long_lists_on_cards_are_counted_and_not_printed():
    units = {index: {"unit": index, "inputs": ["word"] * 10} for index in range(20)}
    printed = _evaluate._comparison([("units.shown", units, {}, True), ("retrieval.milliseconds", {"dense": 0.5}, None, True)])
    assert "20 entries" in printed
    assert "word" not in printed
    assert "{'dense': 0.5}" in printed


def test_train_evaluate_export_encode(capsys, tmp_path, small_recipe):
    status, printed, _ = run(capsys, "train", small_recipe, "--output", tmp_path / "run", "--set", "epochs=1")
    assert status == 0
    assert "# small" in printed
    preset = tmp_path / "run" / "preset"
    status, printed, _ = run(capsys, "evaluate", preset)
    assert status == 0
    assert "Every figure agrees" in printed
    assert run(capsys, "export", preset, tmp_path / "served", "--model-version", 7)[0] == 0
    assert (tmp_path / "served" / "7" / "saved_model.pb").is_file()
    np.save(tmp_path / "images.npy", np.zeros((3, 28, 28, 1), "uint8"))
    assert run(capsys, "encode", preset, tmp_path / "images.npy", tmp_path / "codes.npy")[0] == 0
    assert np.load(tmp_path / "codes.npy").shape == (3, 20)
    assert run(capsys, "encode", preset, tmp_path / "images.npy", tmp_path / "codes.npz", "--sparse")[0] == 0
    np.testing.assert_array_equal(sparse.load_npz(tmp_path / "codes.npz").toarray(), np.load(tmp_path / "codes.npy"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "mnist_dens_ksparse"], "Did you mean 'mnist_dense_ksparse'"),
        (["train", "mnist_dens_ksparse"], "'mnist_dense_ksparse'"),
        (["train", "mnist_dense_ksparse", "--set", "epoch=3"], "'epochs'"),
        (["evaluate", "nothing"], "no preset named"),
        (["export", "nothing", "somewhere"], "no preset named"),
        (["encode", "mnist_dense_ksparse", "missing.npy", "codes.npy"], "missing.npy"),
    ],
)
def test_bad_input_is_told_in_a_sentence(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, said = run(capsys, *arguments)
    assert status == 2
    assert message in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_exporting_needs_tensorflow(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    status, _, said = run(capsys, "export", "fashion_mnist_dense_kl", tmp_path / "served")
    assert status == 2
    assert said.startswith("keras-sae export: Exporting for TF Serving needs the TensorFlow backend of Keras")
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_encode_refuses_other_shapes_and_existing_files(capsys, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((3, 14, 14, 1), "uint8"))
    status, _, said = run(capsys, "encode", "mnist_dense_ksparse", tmp_path / "images.npy", tmp_path / "codes.npy")
    assert status == 2
    assert "(3, 14, 14, 1)" in said
    (tmp_path / "codes.npy").write_text("mine")
    assert run(capsys, "encode", "mnist_dense_ksparse", tmp_path / "images.npy", tmp_path / "codes.npy")[0] == 2
    assert (tmp_path / "codes.npy").read_text() == "mine"
    status, _, said = run(capsys, "encode", "mnist_dense_ksparse", tmp_path / "images.npy", tmp_path / "none" / "codes.npy")
    assert (status, "There is no folder" in said) == (2, True)


def test_a_card_that_lies_is_found_out(capsys, tmp_path, small_recipe):
    run(capsys, "train", small_recipe, "--output", tmp_path / "run")
    preset = tmp_path / "run" / "preset"
    metadata = presets.read_metadata(preset)
    metadata["metrics"]["features"]["l0"] += 3
    write_metadata(preset, metadata)
    status, printed, _ = run(capsys, "evaluate", preset)
    assert status == 1
    assert "differs" in printed


def test_suites_are_chosen_and_cards_updated(capsys, tmp_path, small_recipe, monkeypatch):
    run(capsys, "train", small_recipe, "--output", tmp_path / "run")
    preset = tmp_path / "run" / "preset"
    status, printed, _ = run(capsys, "evaluate", preset, "--suite", "features")
    assert status == 0
    assert "features.l0" in printed
    assert "probe.error" not in printed
    assert run(capsys, "evaluate", preset, "--suite", "denoise")[0] == 2
    metadata = presets.read_metadata(preset)
    metadata["metrics"]["features"]["l0"] += 3
    write_metadata(preset, metadata)
    assert "Updated" in run(capsys, "evaluate", preset, "--suite", "features", "--update")[1]
    assert run(capsys, "evaluate", preset, "--suite", "features")[0] == 0
    (preset / "README.md").write_text("Another card.")
    write_metadata(preset, presets.read_metadata(preset, verify=False))
    assert "Rendered" in run(capsys, "evaluate", preset, "--render")[1]
    assert "Another card." not in (preset / "README.md").read_text()
    assert run(capsys, "evaluate", preset, "--render", "--update")[0] == 2
    monkeypatch.setattr(_catalog, "root", lambda: tmp_path / "run")
    status, printed, _ = run(capsys, "evaluate", "--all", "--suite", "features")
    assert status == 0
    assert "Every card agrees." in printed
    status, printed, _ = run(capsys, "evaluate", "--all", "--suite", "anomaly")
    assert status == 0
    assert "Its card has only features, probe." in printed
    shutil.copytree(preset, tmp_path / "run" / "another")
    metadata = presets.read_metadata(tmp_path / "run" / "another")
    metadata["data"]["test_sha256"] = "0" * 64
    write_metadata(tmp_path / "run" / "another", metadata)
    run(capsys, "seal", tmp_path / "run" / "another")
    status, printed, _ = run(capsys, "evaluate", "--all", "--suite", "features")
    assert status == 1
    assert "Not measured: The split 'test[:100]' of 'fashion_mnist_sample' differs" in printed
    assert printed.endswith("Not measured: another.\n\nEvery other card agrees.\n")
    assert "Received: 0" in run(capsys, "evaluate", "--all", "--jobs", "0")[2]
    for arguments in ([], [preset, "--all"]):
        assert run(capsys, "evaluate", *arguments)[0] == 2


@pytest.mark.slow
def test_presets_are_evaluated_in_processes_as_in_one(capsys, tmp_path, small_recipe, monkeypatch):
    run(capsys, "train", small_recipe, "--output", tmp_path / "run")
    shutil.copytree(tmp_path / "run" / "preset", tmp_path / "run" / "another")
    another = presets.read_metadata(tmp_path / "run" / "another")
    another["metrics"]["features"]["l0"] += 3
    write_metadata(tmp_path / "run" / "another", another)
    monkeypatch.setattr(_catalog, "root", lambda: tmp_path / "run")
    one = run(capsys, "evaluate", "--all", "--suite", "features")
    assert one[0] == 1
    assert one[1].endswith("\nFigures differ from the card of another.\n")
    assert run(capsys, "evaluate", "--all", "--suite", "features", "--jobs", "2")[:2] == one[:2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in Linux' /proc")
def test_killing_evaluate_ends_its_processes():
    command = [sys.executable, "-m", "keras_sae", "evaluate", "--all", "--jobs", "2", "--suite", "finetune"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)

    def until(condition):
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    def started():
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [child for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]

    until(lambda: len(started()) == 2)
    children = started()
    process.kill()
    process.wait()
    until(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes(tmp_path, small_recipe):
    output = tmp_path / "run"
    # A background process of a shell ignores Ctrl-C. This one behaves like a foreground process.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from keras_sae.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "train", str(small_recipe), "--output", str(output)]
    process = subprocess.Popen(
        [*command, "--set", "epochs=500"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (output / "history.csv").exists():  # written after the first epoch
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"keras-sae train {small_recipe} --output {output} --set epochs=500 --resume" in printed
    done = read_run(output)["epoch"]
    resumed = subprocess.run([*command, "--resume", "--set", f"epochs={done + 1}"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert read_run(output)["epoch"] == done + 1


def test_a_wrong_command_is_told_which_one_may_have_been_meant(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(capsys, "trian", "mnist_dense_kl")
    assert stopped.value.code == 2
    assert "There is no command 'trian'. Did you mean 'train'" in capsys.readouterr().err


def test_compare(capsys, monkeypatch):
    from keras_sae import evaluation

    two = {name: evaluation.mechanisms(16)[name] for name in ("plain ReLU", "KSparse")}
    monkeypatch.setattr(sys.modules["keras_sae.evaluation._compare"], "mechanisms", lambda units: two)
    status, printed, _ = run(capsys, "compare", "--units", "16", "--epochs", "1", "--rounds", "1")
    assert status == 0
    assert re.search(r"^plain ReLU +0\.\d{4} +\d+\.\d +\d\.\d{4} +\d+ +\d+\.\d % +\d+\.\d\d +1\.00$", printed, re.MULTILINE)
    assert re.search(r"^KSparse +0\.\d{4} +1\.0 ", printed, re.MULTILINE)
    assert "16 units, 1 epochs of 2,000 images" in printed
    status, printed, _ = run(capsys, "compare", "--units", "16", "--epochs", "1", "--rounds", "0", "--markdown")
    assert re.search(r"^\| KSparse \| 0\.\d{4} \| 1\.0 \|.* % \| - \|$", printed, re.MULTILINE)


def test_quickstart(capsys, tmp_path):
    (tmp_path / "out" / "export" / "1").mkdir(parents=True)  # left by an earlier quickstart
    status, printed, _ = run(capsys, "quickstart", "--output", tmp_path / "out")
    assert status == 0
    accuracies = dict(re.findall(r"(raw pixels|pretrained codes): ([0-9.]+) %", printed))
    assert float(accuracies["pretrained codes"]) > 70
    assert float(accuracies["raw pixels"]) > 70
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["export", "preset", "quickstart.png"]
    assert (tmp_path / "out" / "quickstart.png").read_bytes().startswith(b"\x89PNG")
    for path in re.findall(r"^   (\S*out/\S+)", printed, re.MULTILINE):
        assert Path(path).exists()
    from keras_sae.models import SparseAutoencoder

    assert SparseAutoencoder.from_preset(tmp_path / "out" / "preset").encoder.output_shape == (None, 256)
