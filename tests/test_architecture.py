"""Laws of the whole package: its rooms, its surface, and what importing it costs."""

import ast
import graphlib
import inspect
import sys
from pathlib import Path

import pytest

import keras_sae

PACKAGE = Path(keras_sae.__file__).parent

# A room may import from the rows above it. Rooms in one row do not import each other, except as listed in ALLOWED.
ROWS = [
    {"version", "_backend", "_checks", "_data_files", "_markdown", "_nouns", "_pixels"},
    {"distributed", "ops"},
    {"layers", "regularizers", "metrics", "presets", "datasets"},
    {"callbacks", "models"},
    {"anomaly"},
    {"evaluation", "visualization", "serving"},
    {"training"},
    {"recipes"},
    {"cli"},
    {"__main__"},
]
# Metrics read codes as penalties do; evaluation measures the features that visualization draws.
ALLOWED = {("metrics", "regularizers"), ("evaluation", "visualization")}

PRIVATE_PACKAGES = {"cli", "distributed", "recipes"}
PUBLIC_MODULES = {"version.py", "serving/verification_script.py", "serving/templates/client.py"}  # two run by themselves
# The public names of the first release that had private modules. More may come; these stay.
PUBLIC = {
    "anomaly": """
        AnomalyDetector drift
    """,
    "callbacks": """
        DeadUnitMonitor KSchedule PenaltySchedule
    """,
    "datasets": """
        OnDisk SAMPLE batches load load_arrays load_training patches save_arrays whiten zca
    """,
    "evaluation": """
        ACTIVE_ABOVE SUITES anomaly as_input auroc bootstrap_interval code_statistics coherence compare
        compare_with_pca denoise encode evaluate features finetune gabor gabor_fit mechanisms probe probe_encoder
        psnr reader support_overlap swiss_roll transfer
    """,
    "layers": """
        BatchKSparse FISTA GaussianSample KSparse LISTA MaskingNoise SaltAndPepperNoise TiedConvTranspose TiedDense
        WinnerTakeAll
    """,
    "metrics": """
        CodeMetric DeadUnits ExplainedVariance HoyerSparsity L0 MeanRate PSNR Rates
    """,
    "models": """
        ConvolutionalAutoencoder DeepAutoencoder DenseAutoencoder SparseAutoencoder SparseCodingAutoencoder
        StackedAutoencoder VariationalAutoencoder
    """,
    "ops": """
        sparse_dense_matmul top_k
    """,
    "presets": """
        CARD find load load_reference names read_metadata save
    """,
    "regularizers": """
        ActivityKL ActivityLog ActivityPenalty ActivityTargetL1 ActivityTargetL2 GaussianKL GroupL21
    """,
    "serving": """
        export export_encoder read_description verify_export
    """,
    "training": """
        Recipe Stopped evaluate_preset load_recipe make_strategy publish read_run recipe_names suites_of train
        update_preset
    """,
    "visualization": """
        decoder_features new_figure plot_clouds plot_features plot_reconstructions
    """,
}
CONSTANTS = {"datasets.SAMPLE", "evaluation.ACTIVE_ABOVE", "evaluation.SUITES", "presets.CARD"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if "pretrained" not in path.parts)


def imports(path):
    """Pairs (module, whether at the top level) of all that a file imports."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "keras_sae":
                yield from ((f"keras_sae.{alias.name}", id(node) in top) for alias in node.names)
            else:
                yield node.module, id(node) in top


def row_of(room):
    return next((index for index, row in enumerate(ROWS) if room in row), None)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert row_of(room) is not None, f"the room {room!r} has no row"
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] != "keras_sae" or len(parts) == 1 or parts[1] in (room, "__version__"):
            continue
        assert row_of(parts[1]) < row_of(room) or (room, parts[1]) in ALLOWED, f"{room} imports {parts[1]}"


def imported_modules(path):
    """The files of the package that a file imports, also inside functions. `from package import x` is `x.py` if it exists."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [(alias.name, None) for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [(node.module, alias.name) for alias in node.names]
        for module, name in names:
            root, *parts = module.split(".")
            if root == "keras_sae":
                place = PACKAGE.joinpath(*parts)
                inside = [place / name, (place / name).with_suffix(".py")] if name else []
                found = next(each for each in (*inside, place, place.with_suffix(".py")) if each.exists())
                yield found / "__init__.py" if found.is_dir() else found


def test_no_modules_import_each_other():
    imports_of = {path: set(imported_modules(path)) for path in modules()}
    try:
        graphlib.TopologicalSorter(imports_of).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle: " + " <- ".join(path.relative_to(PACKAGE).as_posix() for path in error.args[1]))


def test_no_packages_import_each_other():
    imports_of = {}
    for path in modules():
        others = {room_of(each) for each in imported_modules(path)} - {room_of(path)}
        imports_of.setdefault(room_of(path), set()).update(others)
    try:
        graphlib.TopologicalSorter(imports_of).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_other_packages_are_entered_by_their_init(path):
    room = room_of(path)
    rooms = {each for row in ROWS for each in row}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                name = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                root, other, *inside = [*name.split("."), ""]
                if root == "keras_sae" and other != room:
                    assert not any(part.startswith("_") and part != "__version__" for part in inside), f"enters {name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms - {room}:
            assert not node.attr.startswith("_"), f"enters {node.value.id}.{node.attr}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_heavy_packages_are_imported_where_they_are_used(path):
    for module, at_top in imports(path):
        package = module.split(".")[0]
        if package in {"tensorflow", "tensorflow_datasets", "matplotlib", "sklearn", "jax", "torch"}:
            assert not at_top, f"{package} is imported at the top"
        if package == "tensorflow":
            assert room_of(path) in {"datasets", "serving", "distributed", "ops", "cli", "training"}
        assert not module.startswith("keras.src"), "Keras' inside is not ours"


def test_modules_are_private_short_and_have_names_of_their_own():
    for path in modules():
        name = path.relative_to(PACKAGE).as_posix()
        assert path.stem.startswith("_") or name in PUBLIC_MODULES, f"{name} is public"
        assert path.stem.strip("_") not in {"util", "utils", "helper", "helpers", "common", "misc"}
        assert len(path.read_text().splitlines()) <= 300, name


def length(function):
    """The lines of a function without its docstring."""
    first = function.body[0]
    return function.end_lineno - function.lineno + 1 - bool(ast.get_docstring(function)) * (first.end_lineno - first.lineno + 1)


def test_functions_are_short():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert length(node) <= 60, f"{path.relative_to(PACKAGE)}: {node.name} has {length(node)} lines"


def test_the_table_of_contents_lists_the_public_packages():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(keras_sae.__all__) == packages - PRIVATE_PACKAGES | {"__version__"}


@pytest.mark.parametrize("room", sorted(PUBLIC))
def test_public_names_stay_and_are_documented(room):
    package = getattr(keras_sae, room)
    assert package.__doc__
    assert set(PUBLIC[room].split()) <= set(package.__all__)
    for name in package.__all__:
        member = getattr(package, name)
        if f"{room}.{name}" in CONSTANTS:
            assert not callable(member)
        else:
            assert inspect.isclass(member) or inspect.isfunction(member), f"{room}.{name} is neither a class nor a function"
            assert vars(member).get("__doc__") if inspect.isclass(member) else member.__doc__, f"{room}.{name} has no docstring"


def test_classes_are_registered_under_the_package():
    import keras

    for room in ("layers", "regularizers", "metrics", "models"):
        package = getattr(keras_sae, room)
        for name in package.__all__:
            base = name in {"ActivityPenalty", "CodeMetric", "DecodedPenalty", "Selection"}  # never objects
            if inspect.isclass(getattr(package, name)) and not base:
                assert keras.saving.get_registered_object(f"keras_sae>{name}") is getattr(package, name)


def test_importing_is_light_and_prints_nothing(in_fresh_process):
    # Processor time, as a share of what Keras takes. Keras itself imports scikit-learn and matplotlib where they are installed.
    code = """
import time, sys
start = time.process_time()
import keras
keras_seconds = time.process_time() - start
before = set(sys.modules)
start = time.process_time()
import keras_sae
print((time.process_time() - start) / keras_seconds)
heavy = {"tensorflow_datasets", "matplotlib", "sklearn"} & (set(sys.modules) - before)
assert not heavy, heavy
"""
    # Again where it was slow, because other work on the machine can change processor time too.
    assert any(float(in_fresh_process(code)) < 0.05 for _ in range(3))


@pytest.mark.parametrize("room", ["presets", "training", "evaluation"])
def test_packages_that_load_lazily_list_what_they_have(room):
    package = getattr(keras_sae, room)
    stub = ast.parse((PACKAGE / room / "__init__.pyi").read_text())
    (listed,) = (ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(package.__all__) == sorted(listed)
    for node in stub.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            assert getattr(package, alias.name) is getattr(sys.modules[f"keras_sae.{room}.{node.module}"], alias.name)
