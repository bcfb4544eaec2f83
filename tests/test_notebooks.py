"""The notebooks run from top to bottom on the shipped sample, and are committed with their outputs."""

import re

import nbformat
import pytest

NOTEBOOKS = ["what_sparsity_does", "architectures", "transfer_learning", "anomaly_detection", "embeddings"]


def read(root, name):
    return nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)


def test_every_notebook_is_listed(root):
    assert {path.stem for path in (root / "notebooks").glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs(name, root, tmp_path):
    from nbclient import NotebookClient

    notebook = read(root, name)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_committed_with_its_outputs_and_pictures(name, root):
    notebook = read(root, name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    text = "".join(str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
