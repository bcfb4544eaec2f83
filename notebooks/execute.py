"""Runs notebooks and stores them with their outputs, ready to commit.

    python notebooks/execute.py 01 07     # those whose names begin so; all without a name

The first code cell of every notebook is `INSTALL`. What changes with each run or machine is left out: ids and times of cells,
versions, and what TensorFlow writes to stderr. Look at the outputs before you commit them.
"""

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
INSTALL = """\
from importlib.util import find_spec

SOURCE = ".."  # the checkout with this notebook; on a hosted machine, the name of a wheel of keras_sae that you uploaded
EXTRAS = "evaluation,visualization" if find_spec("tensorflow") else "cpu,evaluation,visualization"
if find_spec("keras_sae") is None:
    %pip install --quiet "{SOURCE}[{EXTRAS}]\""""


def execute(notebook):
    """Runs the cells of a notebook in a new process and an empty folder, and returns it with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
        return client.execute()


def tidy(notebook):
    """Changes a notebook so that two runs differ in their results only, and returns it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    first = next(place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    if "find_spec" not in notebook.cells[first].source:
        notebook.cells.insert(first, nbformat.v4.new_code_cell())
    notebook.cells[first].source = INSTALL
    count = 0
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        cell.metadata = {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = _tidy_outputs(cell.outputs, count)
    return notebook


def _tidy_outputs(outputs, count):
    kept = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            continue
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
            continue
        if output.output_type == "execute_result":
            output.execution_count = count
        kept.append(output)
    return kept


def main(names):
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and not path.name.startswith(tuple(names)):
            continue
        start = time.perf_counter()
        nbformat.write(tidy(execute(tidy(nbformat.read(path, as_version=4)))), path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
