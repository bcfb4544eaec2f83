"""The examples, table, links and commands of the README work."""

import re
import subprocess
import sys
import tomllib

import pytest

from keras_sae import presets
from keras_sae.training import table


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_examples_run(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = blocks(readme, "python")
    assert len(examples) == 3
    transfer, own, stacked = examples
    given = {}
    exec(transfer, given)
    assert given["classifier"].evaluate(given["test"], verbose=0)[1] > 0.75
    given = {}
    exec(own, given)
    assert given["codes"].shape == (2000, 500)
    assert ((given["codes"] != 0).sum(axis=1) <= 75).all()
    assert (tmp_path / "my_encoder" / "metadata.json").is_file()
    given = {}
    exec(stacked, given)
    images, labels = given["datasets"].load_arrays("fashion_mnist_sample", "test")
    assert given["classifier"].evaluate(images / 255.0, labels, verbose=0)[1] > 0.75


def test_the_table_of_presets_is_the_generated_one(readme):
    shown = re.search(r"<!-- presets: keras-sae list --markdown -->\n(.*?)\n<!-- end of presets -->", readme, re.DOTALL).group(
        1
    )
    assert shown == table([presets.read_metadata(presets.find(name)) for name in presets.names()])


def test_links_lead_somewhere(readme, root):
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert link.startswith("https://") or (root / link).exists(), link


def test_commands_and_extras_exist(readme, root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r'pip install "\.\[([^]]+)\]"', readme):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    helped = subprocess.run(
        [sys.executable, "-m", "keras_sae.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in re.findall(r"keras-sae ([a-z]+)", readme):
        assert re.search(rf"^ +{command}\b", helped, re.MULTILINE), command


def test_the_changelog_has_the_version(root):
    from keras_sae import __version__

    assert f"## {__version__}" in (root / "CHANGELOG.md").read_text()
