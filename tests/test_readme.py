"""The commands and extras that the README names exist, and it is short. `test_site.py` has its examples, table and links."""

import re
import subprocess
import sys
import tomllib

import pytest


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


def test_it_is_short(readme):
    without_code = re.sub(r"^```.*?^```|^\|.*?$|<!--.*?-->", "", readme, flags=re.MULTILINE | re.DOTALL)
    assert len(without_code.split()) <= 700


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
