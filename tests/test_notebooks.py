"""The notebooks run from top to bottom on what the package ships, and are committed with their outputs."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest

from keras_sae import visualization

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SCRIPT = runpy.run_path(str(FOLDER / "execute.py"))

each_notebook = pytest.mark.parametrize("name", NAMES)


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.mark.slow  # up to a minute each
@each_notebook
def test_runs(name):
    SCRIPT["execute"](read(name))


@each_notebook
def test_is_committed_as_the_script_leaves_it(name):
    # Ids, metadata, streams and the cell that installs are those of `execute.py`, so a new run changes results only.
    notebook = read(name)
    assert SCRIPT["tidy"](read(name)) == notebook
    assert code_cells(notebook)[0].source == SCRIPT["INSTALL"]
    assert not code_cells(notebook)[0].outputs


@each_notebook
def test_is_committed_with_its_outputs_and_pictures(name):
    outputs = [output for cell in code_cells(read(name)) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    text = "".join(str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert not re.search(r"/(home|root|tmp|work|Users)/|Warning|Traceback", text)


@each_notebook
def test_asks_one_question_in_few_words(name):
    notebook = read(name)
    assert notebook.cells[0].cell_type == "markdown"
    headings = re.findall(r"^# .+", "\n".join(texts(notebook)), re.M)
    assert len(headings) == 1
    assert notebook.cells[0].source.startswith(headings[0])
    assert sum(len(text.split()) for text in texts(notebook)) <= 600


@each_notebook
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#:]+)\)", "\n".join(texts(read(name)))):
        assert (FOLDER / target).exists(), target


def test_each_figure_of_the_course_is_one_function_in_one_notebook():
    page = (FOLDER.parent / "docs" / "course.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| `(\w+)` \| \[.*\]\(\.\./notebooks/(\w+)\.ipynb\) \|$", page, re.M)
    assert len(rows) == len(re.findall(r"^\|.*\| `", page, re.M)) >= 9
    for function, name in rows:
        assert function in visualization.__all__
        assert any(f"visualization.{function}(" in cell.source for cell in code_cells(read(name))), (function, name)


@each_notebook
def test_says_at_the_top_what_you_will_see_and_at_the_end_what_is_next(name):
    first, *_, last = texts(read(name))
    assert first.split("\n\n")[1].startswith("**What you will see:**")
    later = NAMES[NAMES.index(name) + 1 :]
    assert not later or f"]({later[0]}.ipynb)" in last
